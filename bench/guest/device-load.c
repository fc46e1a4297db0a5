/*
 * The workloads of device-load.ts: network and disk of a guest, each framed by lines on the console, which the
 * host times. Of the command line: bench.gateway=ADDRESS, bench.port=PORT of the host's server, and
 * bench.only=NAMES. The server takes one line a connection: `take N` (it reads N bytes and answers `done`),
 * `give N` (it writes N bytes) or `ask N KEEP` (it makes N requests to port 80 here, and answers `done`).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench-words.h"

#define MIB (1L << 20)
#define BLOCK 4096
#define CHUNK 65536

static const char *disk = "/dev/vda";
static char chunk[CHUNK];

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static int command(const char *line)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&host, sizeof host) != 0) fail("connect");
    if (write(fd, line, strlen(line)) != (ssize_t)strlen(line)) fail("command");
    return fd;
}

static void await_done(int fd)
{
    char answer[4];
    for (size_t got = 0; got < sizeof answer;) {
        ssize_t count = read(fd, answer + got, sizeof answer - got);
        if (count <= 0) fail("answer");
        got += count;
    }
    if (memcmp(answer, "done", 4) != 0) fail("answer");
    close(fd);
}

static void tcp_out(long bytes)
{
    char line[64];
    snprintf(line, sizeof line, "take %ld\n", bytes);
    int fd = command(line);
    for (long left = bytes; left > 0;) {
        ssize_t count = write(fd, chunk, left < CHUNK ? left : CHUNK);
        if (count <= 0) fail("write");
        left -= count;
    }
    await_done(fd);
}

static void tcp_in(long bytes)
{
    char line[64];
    snprintf(line, sizeof line, "give %ld\n", bytes);
    int fd = command(line);
    long got = 0;
    for (ssize_t count; (count = read(fd, chunk, CHUNK)) != 0; got += count) {
        if (count < 0) fail("read");
    }
    if (got != bytes) fail("bytes");
    close(fd);
}

/* A server of one process: answers each request, and closes when the client does or asks for it. */
static void serve(void)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(80)};
    if (bind(listener, (struct sockaddr *)&own, sizeof own) != 0) fail("bind");
    if (listen(listener, 128) != 0) fail("listen");
    int events = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(events, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        struct epoll_event ready[64];
        int count = epoll_wait(events, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                wanted.data.fd = client;
                epoll_ctl(events, EPOLL_CTL_ADD, client, &wanted);
                continue;
            }
            char request[2048];
            ssize_t got = read(fd, request, sizeof request - 1);
            request[got > 0 ? got : 0] = 0;
            if (got <= 0 || write(fd, answer, sizeof answer - 1) < 0) close(fd);
            else if (strstr(request, "Connection: close") != NULL) close(fd);
        }
    }
}

static void http(long requests, int keep)
{
    char line[64];
    snprintf(line, sizeof line, "ask %ld %d\n", requests, keep);
    await_done(command(line));
}

static void http_once(long requests) { http(requests, 0); }
static void http_kept(long requests) { http(requests, 1); }

/* Blocks of the disk past the page cache, one after the other or at random. */
static void blocks(long count, int writes, int random, unsigned long seed)
{
    static char buffer[BLOCK] __attribute__((aligned(BLOCK)));
    int fd = open(disk, O_RDWR | O_DIRECT);
    if (fd < 0) fail(disk);
    long all = lseek(fd, 0, SEEK_END) / BLOCK;
    memset(buffer, 'b', sizeof buffer);
    for (long i = 0; i < count; i++) {
        off_t at = (random ? (long)next_random(&seed) % all : i % all) * BLOCK;
        ssize_t done = writes ? pwrite(fd, buffer, BLOCK, at) : pread(fd, buffer, BLOCK, at);
        if (done != BLOCK) fail("block");
    }
    close(fd);
}

/* Several processes at once: their requests wait in the ring together. */
static void crowd(long count, int writes)
{
    enum { PROCESSES = 8 };
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            blocks(count / PROCESSES, writes, 1, i + 1);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        if (wait(&status) < 0 || status != 0) fail("process");
    }
}

static void read_seq(long count) { blocks(count, 0, 0, 1); }
static void read_random(long count) { blocks(count, 0, 1, 1); }
static void write_seq(long count) { blocks(count, 1, 0, 1); }
static void write_random(long count) { blocks(count, 1, 1, 1); }
static void read_crowd(long count) { crowd(count, 0); }
static void write_crowd(long count) { crowd(count, 1); }

/* Through the page cache, in large requests; a write ends with what flushes it. */
static void stream(long bytes, int writes)
{
    int fd = open(disk, O_RDWR);
    if (fd < 0) fail(disk);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (long left = bytes; left > 0; left -= CHUNK) {
        if ((writes ? write(fd, chunk, CHUNK) : read(fd, chunk, CHUNK)) != CHUNK) fail("stream");
    }
    if (writes && fsync(fd) != 0) fail("fsync");
    close(fd);
}

static void read_stream(long bytes) { stream(bytes, 0); }
static void write_stream(long bytes) { stream(bytes, 1); }

static const struct {
    const char *name;
    void (*run)(long);
    long amount;
} workloads[] = {
    {"tcp-out", tcp_out, 256 * MIB},
    {"tcp-in", tcp_in, 256 * MIB},
    {"http", http_once, 1000},
    {"http-kept", http_kept, 4000},
    {"read-seq", read_seq, 10000},
    {"read-random", read_random, 10000},
    {"write-seq", write_seq, 10000},
    {"write-random", write_random, 10000},
    {"read-crowd", read_crowd, 20000},
    {"write-crowd", write_crowd, 20000},
    {"read-stream", read_stream, 128 * MIB},
    {"write-stream", write_stream, 128 * MIB},
};

static int is_listed(const char *list, const char *name)
{
    char all[300];
    char one[64];
    if (list == NULL) return 1;
    snprintf(all, sizeof all, ",%s,", list);
    snprintf(one, sizeof one, ",%s,", name);
    return strstr(all, one) != NULL;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *missing = read_words();
    if (missing != NULL) fail(missing);
    const char *only = word("bench.only=");
    if (fork() == 0) serve();
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
        const char *name = workloads[i].name;
        long amount = workloads[i].amount;
        if (!is_listed(only, name)) continue;
        /* Once before, so that code is translated on both sides. */
        workloads[i].run(amount);
        printf("@begin %s\n", name);
        workloads[i].run(amount);
        printf("@end %s 0\n@digest %s %ld\n", name, name, amount);
    }
    printf("@done\n");
    return 0;
}
