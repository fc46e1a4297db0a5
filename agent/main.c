/*
 * pando-agent: runs commands and moves files in a guest for its host (docs/agent.md).
 *
 *   pando-agent [--port N]     listens on vsock port N (vsock(7)), 1024 by default
 *   pando-agent --unix PATH    listens on a socket of the file system, for tests
 *
 * It reaps all that commands leave behind (prctl(2), PR_SET_CHILD_SUBREAPER), whatever process 1 is; as process 1 it
 * also mounts what commands expect.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.h"

/* linux/vm_sockets.h, which musl's headers leave out. */
#define VMADDR_CID_ANY 0xffffffffu
struct sockaddr_vm {
  unsigned short family;
  unsigned short reserved;
  unsigned int port;
  unsigned int cid;
  unsigned char flags;
  unsigned char zero[3];
};

#define BACKLOG 128

static struct watch listener;
static struct watch signals;

/*
 * A descriptor that is given up for a connection beyond the limit of descriptors, which is taken and closed: its host
 * hears of it, while one that waits would wake the loop again at once.
 */
static int reserve = -1;

static void hold_reserve(void) { reserve = open("/dev/null", O_RDONLY | O_CLOEXEC); }

static void refuse_connection(int listening) {
  if (reserve < 0) return;
  close(reserve);
  int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  hold_reserve();
}

static void listener_ready(struct watch *watch, uint32_t events) {
  (void)events;
  int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) connection_open(fd);
  else if (errno == EMFILE || errno == ENFILE) refuse_connection(watch->fd);
}

static void signals_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct signalfd_siginfo info[8];
  if (read(watch->fd, info, sizeof info) > 0) exec_reap();
}

static int listen_vsock(unsigned int port) {
  struct sockaddr_vm address = {.family = AF_VSOCK, .port = port, .cid = VMADDR_CID_ANY};
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
  return listen(fd, BACKLOG) < 0 ? -1 : fd;
}

static int listen_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
  return listen(fd, BACKLOG) < 0 ? -1 : fd;
}

/* File systems that the kernel does not mount of itself; an init that has mounted them is left alone. */
static void mount_basics(void) {
  static const struct {
    const char *type;
    const char *target;
    unsigned long flags;
    const char *data;
  } mounts[] = {
      {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
      {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
      {"devtmpfs", "/dev", MS_NOSUID, NULL},
      {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
      {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, NULL},
      {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755"},
  };
  for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
    struct stat own, parent;
    char above[64];
    snprintf(above, sizeof above, "%s/..", mounts[i].target);
    mkdir(mounts[i].target, 0755);
    if (stat(mounts[i].target, &own) == 0 && stat(above, &parent) == 0 && own.st_dev != parent.st_dev)
      continue;
    mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].data);
  }
}

static int fail(const char *what) {
  fprintf(stderr, "pando-agent: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  unsigned long port = AGENT_PORT;
  const char *path = NULL;
  if (argc == 3 && strcmp(argv[1], "--unix") == 0) {
    path = argv[2];
  } else if (argc == 3 && strcmp(argv[1], "--port") == 0) {
    port = strtoul(argv[2], NULL, 10);
  } else if (argc != 1) {
    fprintf(stderr, "usage: pando-agent [--port N | --unix PATH]\n");
    return 2;
  }
  if (getpid() == 1) mount_basics();
  /* What commands leave behind is reaped here at once; an init may take its time. */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  hold_reserve();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0 || loop_init() < 0) return fail("start");
  int fd = path != NULL ? listen_unix(path) : listen_vsock(port);
  if (fd < 0) return fail(path != NULL ? path : "vsock");
  if (watch_add(&listener, fd, EPOLLIN, listener_ready, NULL) < 0 ||
      watch_add(&signals, signal_fd, EPOLLIN, signals_ready, NULL) < 0)
    return fail("epoll");
  loop_run();
  return 0;
}
