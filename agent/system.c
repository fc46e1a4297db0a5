/*
 * SYSTEM: the machine's clock, entropy (random(4), RNDADDENTROPY and RNDRESEEDCRNG), host name and
 * machine-id(5), which a clone must not share with its template. Each only when its field is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define RNDADDENTROPY 0x40085203
#define RNDRESEEDCRNG 0x5207
#define ENTROPY_MAX 512
/* No request takes longer: a time-stamp counter that is further on is not the one that the host knows. */
#define LATE_MAX 60000000000u

/*
 * Nanoseconds since the host took the clock, by the time-stamp counter, which counts them where the host gives its
 * value.
 */
static uint64_t late_by(const struct request *request) {
  struct field field;
  if (!request_find(request, FIELD_TIMESTAMP, &field)) return 0;
  uint64_t late = __builtin_ia32_rdtsc() - request_number(request, FIELD_TIMESTAMP, 0);
  return late <= LATE_MAX ? late : 0;
}

static int set_clock(const struct request *request, uint64_t *late) {
  struct field field;
  if (!request_find(request, FIELD_CLOCK, &field)) return 0;
  *late = late_by(request);
  uint64_t nanoseconds = request_number(request, FIELD_CLOCK, 0) + *late;
  struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  return clock_settime(CLOCK_REALTIME, &time);
}

static int add_entropy(const struct request *request) {
  struct {
    int bits;
    int bytes;
    uint8_t data[ENTROPY_MAX];
  } pool;
  struct field field;
  if (!request_find(request, FIELD_ENTROPY, &field)) return 0;
  if (field.length > ENTROPY_MAX) {
    errno = EMSGSIZE;
    return -1;
  }
  pool.bits = field.length * 8;
  pool.bytes = field.length;
  memcpy(pool.data, field.bytes, field.length);
  int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
  if (fd < 0) return -1;
  int failed = ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0 ? errno : 0;
  close(fd);
  errno = failed;
  return failed ? -1 : 0;
}

static int set_hostname(const struct request *request) {
  struct field field;
  if (!request_find(request, FIELD_HOSTNAME, &field)) return 0;
  return sethostname((const char *)field.bytes, field.length);
}

static int set_machine_id(const struct request *request) {
  struct field field;
  if (!request_find(request, FIELD_MACHINE_ID, &field)) return 0;
  int fd = open("/etc/machine-id", O_WRONLY | O_TRUNC | O_CLOEXEC);
  /* An image without the file does not want one. */
  if (fd < 0) return errno == ENOENT ? 0 : -1;
  ssize_t wrote = write(fd, field.bytes, field.length);
  int failed = wrote < 0 ? errno : wrote != (ssize_t)field.length || write(fd, "\n", 1) != 1 ? EIO : 0;
  close(fd);
  errno = failed;
  return failed ? -1 : 0;
}

void system_start(struct connection *connection, const struct request *request) {
  uint64_t late = 0;
  const char *failed = add_entropy(request) < 0          ? "entropy"
                       : set_clock(request, &late) < 0   ? "clock"
                       : set_hostname(request) < 0       ? "hostname"
                       : set_machine_id(request) < 0     ? "machine-id"
                                                         : NULL;
  if (failed != NULL) {
    connection_fail(connection, errno, failed);
    return;
  }
  uint8_t answer[8];
  put64(answer, late);
  connection_send(connection, REPLY_OK, answer, sizeof answer);
  connection_finish(connection);
}
