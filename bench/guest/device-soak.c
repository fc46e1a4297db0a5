/*
 * The guest of device-soak.ts: one process writes and reads back blocks of a disk, others send bytes to a server
 * of the host and want the same bytes back. Both go on when the host's end fails, and say what came out otherwise
 * than acknowledged. Of the command line: bench.gateway=ADDRESS, bench.port=PORT, bench.seconds=N.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench-words.h"

#define BLOCK 4096
#define BLOCKS 16384
#define RUN 16
#define CLIENTS 3
#define LONGEST 262144
/* Seconds without a byte: far longer than any end is away. */
#define PATIENCE 90

struct state {
    /* What was acknowledged, and what was tried last: of writes in between that failed either may be on the disk. */
    unsigned known[BLOCKS];
    unsigned tried[BLOCKS];
};

static struct state state;
static time_t end;

static void fail(const char *what)
{
    printf("@wrong %s: %s\n", what, strerror(errno));
    exit(1);
}

static time_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

static void fill(unsigned *block, unsigned number, unsigned version)
{
    for (int i = 0; i < BLOCK / 8; i++) {
        block[2 * i] = number;
        block[2 * i + 1] = version;
    }
}

/* Whether a block is as it was acknowledged, or as a failed write may have left it. */
static int is_right(const unsigned *block, unsigned number)
{
    static unsigned wanted[BLOCK / 4];
    if (state.known[number] == 0 && state.tried[number] == 0) return 1;
    unsigned version = block[1];
    if (version < state.known[number] || version > state.tried[number]) return 0;
    if (version == 0) return 1;
    fill(wanted, number, version);
    return memcmp(block, wanted, BLOCK) == 0;
}

static void check(const unsigned *blocks, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const unsigned *block = blocks + i * (BLOCK / 4);
        if (is_right(block, first + i)) continue;
        printf("@wrong block %u has %u/%u, acknowledged %u, tried %u\n", first + i, block[0], block[1],
               state.known[first + i], state.tried[first + i]);
    }
}

static void disk(void)
{
    static unsigned blocks[RUN * BLOCK / 4] __attribute__((aligned(BLOCK)));
    unsigned long seed = 1;
    unsigned version = 0;
    long written = 0, failed = 0, reads = 0;
    time_t said = now();
    int fd = open("/dev/vda", O_RDWR | O_DIRECT);
    if (fd < 0) fail("/dev/vda");
    while (now() < end) {
        unsigned count = 1 + next_random(&seed) % RUN;
        unsigned first = next_random(&seed) % (BLOCKS - count);
        if (next_random(&seed) % 2) {
            version++;
            for (unsigned i = 0; i < count; i++) fill(blocks + i * (BLOCK / 4), first + i, version);
            ssize_t bytes = (ssize_t)count * BLOCK;
            int done = pwrite(fd, blocks, bytes, (off_t)first * BLOCK) == bytes;
            for (unsigned i = 0; i < count; i++) {
                state.tried[first + i] = version;
                if (done) state.known[first + i] = version;
            }
            if (done) written++;
            else failed++;
            /* A disk that is full fails at once; others are to have the processor, too. */
            if (!done) usleep(20000);
            if (version % 512 == 0) fdatasync(fd);
        } else {
            ssize_t bytes = (ssize_t)count * BLOCK;
            if (pread(fd, blocks, bytes, (off_t)first * BLOCK) != bytes) fail("read");
            check(blocks, first, count);
            reads++;
        }
        if (now() - said < 5) continue;
        said = now();
        printf("@disk %ld %ld %ld\n", written, failed, reads);
    }
    for (unsigned first = 0; first < BLOCKS; first += RUN) {
        if (pread(fd, blocks, sizeof blocks, (off_t)first * BLOCK) != sizeof blocks) fail("read");
        check(blocks, first, RUN);
    }
    if (fsync(fd) != 0) fail("fsync");
    printf("@disk %ld %ld %ld\n", written, failed, reads);
}

static int connected(void)
{
    struct timeval patience = {.tv_sec = PATIENCE};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&host, sizeof host) == 0) return fd;
    if (errno == EINPROGRESS || errno == EAGAIN) printf("@wrong connect hangs\n");
    close(fd);
    return -1;
}

/* 1 when all bytes came back, 0 when the server went. */
static int echo(int fd, const char *bytes, long length)
{
    static char back[LONGEST];
    char line[64];
    snprintf(line, sizeof line, "echo %ld\n", length);
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) return 0;
    for (long at = 0; at < length;) {
        ssize_t count = send(fd, bytes + at, length - at, MSG_NOSIGNAL);
        if (count <= 0) {
            if (errno == EAGAIN) printf("@wrong send hangs\n");
            return 0;
        }
        at += count;
    }
    for (long at = 0; at < length;) {
        ssize_t count = recv(fd, back + at, length - at, 0);
        if (count <= 0) {
            if (count < 0 && errno == EAGAIN) printf("@wrong receive hangs\n");
            return 0;
        }
        at += count;
    }
    if (memcmp(back, bytes, length) != 0) printf("@wrong echo of %ld bytes\n", length);
    return 1;
}

static void network(long number)
{
    static char bytes[LONGEST];
    unsigned long seed = number;
    long done = 0, failed = 0;
    time_t said = now();
    for (long i = 0; i < LONGEST; i++) bytes[i] = next_random(&seed);
    while (now() < end) {
        long length = 1 + next_random(&seed) % LONGEST;
        int fd = connected();
        if (fd >= 0 && echo(fd, bytes + next_random(&seed) % (LONGEST - length + 1), length)) done++;
        else {
            failed++;
            usleep(20000);
        }
        if (fd >= 0) close(fd);
        if (now() - said < 5) continue;
        said = now();
        printf("@network %ld %ld %ld\n", number, done, failed);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *missing = read_words();
    const char *seconds = missing == NULL ? word("bench.seconds=") : NULL;
    if (seconds == NULL) fail(missing == NULL ? "bench.seconds=" : missing);
    end = now() + atoi(seconds);
    for (int i = 0; i <= CLIENTS; i++) {
        if (fork() != 0) continue;
        if (i == 0) disk();
        else network(i);
        exit(0);
    }
    for (int i = 0, status; i <= CLIENTS; i++) {
        if (wait(&status) < 0 || status != 0) printf("@wrong a process ended with %d\n", status);
    }
    printf("@done\n");
    return 0;
}
