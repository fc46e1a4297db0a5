/*
 * pando-launch: the first process of a guest whose root is an image. It loads the drivers, mounts the
 * image and an overlay above it, makes that the root, connects the network, runs one program as the image's
 * configuration has it, tells the host its exit status, and powers the guest off (docs/rootfs.md).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "launch.h"

/* src/arch/layout.ts: BOOT_STAGE_PORT and GUEST_STATUS_PORT. */
#define BOOT_STAGE_PORT 0xf4
#define GUEST_STATUS_PORT 0xf6
#define STAGE_USER_SPACE 7

/* As docker run has it: the container could not be started. */
#define STATUS_NOT_STARTED 125
#define STATUS_SIGNAL 128

/* Where the guest finds what it has changed (src/image/debian-root/configure-script.ts). */
#define CHANGES "dev/pando-changes"

/* Linux, Documentation/filesystems/ext4/super.rst: where the super block is, and s_uuid in it. */
#define EXT4_SUPER 1024
#define EXT4_UUID 0x68

/* A minute in steps of 10 ms: a busy host gives a guest little time. */
#define DEVICE_STEPS 6000
/* Steps between two looks for devices that a driver has found since. */
#define DRIVER_STEPS 10

static _Noreturn void power_off(int status) {
  tcdrain(STDOUT_FILENO);
  outb(status, GUEST_STATUS_PORT);
  sync();
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

void fail(const char *what) {
  dprintf(STDERR_FILENO, "pando-launch: %s: %s\n", what, strerror(errno));
  power_off(STATUS_NOT_STARTED);
}

long read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t length = 0;
  for (ssize_t got; length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0;)
    length += got;
  close(fd);
  text[length] = 0;
  return length;
}

static void mount_at(const char *type, const char *path, unsigned long flags, const char *data) {
  if (mkdir(path, 0755) < 0 && errno != EEXIST) fail(path);
  if (mount(type, path, type, flags, data) < 0) fail(path);
}

/* Waits until `found` says that a device is there, and gives it drivers meanwhile. */
static void wait_for(int (*found)(void *), void *what, const char *name) {
  for (int step = 0; step < DEVICE_STEPS; step++) {
    if (found(what)) return;
    if (step % DRIVER_STEPS == 0) load_drivers();
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
  }
  errno = ENODEV;
  fail(name);
}

struct root {
  const char *device;
  struct config config;
};

/* The first of the devices that a root can be on with a root on it: a user's disk has none. */
static int find_root(void *into) {
  static const char *const devices[] = {"/dev/pmem0", "/dev/vda"};
  struct root *root = into;
  for (size_t index = 0; index < sizeof devices / sizeof *devices; index++) {
    root->device = devices[index];
    if (read_config(root->device, &root->config)) return 1;
  }
  return 0;
}

struct upper {
  char device[sizeof "/dev/vda"];
  const char *uuid;
};

/* The disk whose ext4 has the UUID (Linux, Documentation/filesystems/ext4/super.rst). */
static int find_upper(void *into) {
  struct upper *upper = into;
  for (char letter = 'a'; letter <= 'z'; letter++) {
    unsigned char super[EXT4_UUID + 16];
    char text[33];
    snprintf(upper->device, sizeof upper->device, "/dev/vd%c", letter);
    int fd = open(upper->device, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ssize_t got = pread(fd, super, sizeof super, EXT4_SUPER);
    close(fd);
    if (got != sizeof super) continue;
    for (int byte = 0; byte < 16; byte++)
      snprintf(text + 2 * byte, 3, "%02x", super[EXT4_UUID + byte]);
    if (strcmp(text, upper->uuid) == 0) return 1;
  }
  return 0;
}

/* What the guest writes: in memory, or on a disk. */
static void mount_upper(const char *uuid) {
  if (*uuid == 0) {
    mount_at("tmpfs", "/upper", 0, "mode=0755");
    return;
  }
  struct upper upper = {.uuid = uuid};
  wait_for(find_upper, &upper, "no disk for what the guest writes");
  load_module("ext4");
  mkdir("/upper", 0755);
  if (mount(upper.device, "/upper", "ext4", MS_NOATIME, NULL) < 0) fail("ext4 on the guest's disk");
}

/* The image, and above it what the guest writes. */
static void mount_root(const char *device, const char *upper) {
  /* The checksum that erofs asks for by its name in the crypto interface, which is no dependency. */
  load_module("crc32c_generic");
  load_module("erofs");
  load_module("overlay");
  mkdir("/lower", 0755);
  int memory = strncmp(device, "/dev/pmem", 9) == 0;
  if (mount(device, "/lower", "erofs", MS_RDONLY, memory ? "dax=always" : NULL) < 0)
    fail("erofs on the root's device");
  mount_upper(upper);
  mkdir("/upper/work", 0700);
  mkdir("/upper/data", 0700);
  /* An overlay's own attributes are those of its upper directory. */
  struct stat root;
  if (stat("/lower", &root) < 0 || chown("/upper/data", root.st_uid, root.st_gid) < 0 ||
      chmod("/upper/data", root.st_mode & 07777) < 0)
    fail("/upper/data");
  mkdir("/root", 0755);
  if (mount("overlay", "/root", "overlay", 0,
            "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work") < 0)
    fail("overlay");
}

/* What programs expect in a container (OCI Runtime Specification, config-linux.md, "Default Filesystems"). */
static void mount_system(void) {
  mount_at("devtmpfs", "dev", MS_NOSUID, NULL);
  mount_at("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_at("sysfs", "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_at("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
  mount_at("tmpfs", "dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
  symlink("/proc/self/fd", "dev/fd");
  symlink("fd/0", "dev/stdin");
  symlink("fd/1", "dev/stdout");
  symlink("fd/2", "dev/stderr");
}

/* The overlay's upper directory, for a guest that is to hand over what it has changed. */
static void show_changes(void) {
  if (mkdir(CHANGES, 0700) < 0 || mount("/upper/data", CHANGES, NULL, MS_BIND, NULL) < 0)
    fail(CHANGES);
}

/* The terminal behind /dev/console, which itself can control no session. */
static int open_console(void) {
  char active[256];
  char path[300] = "/dev/ttyS0";
  if (read_text("/sys/class/tty/console/active", active, sizeof active) > 0) {
    active[strcspn(active, "\n")] = 0;
    char *last = strrchr(active, ' ');
    snprintf(path, sizeof path, "/dev/%s", last == NULL ? active : last + 1);
  }
  return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Without a terminal on the host's side, bytes pass as they are. */
static void set_raw(int fd) {
  struct termios settings;
  if (tcgetattr(fd, &settings) < 0) return;
  cfmakeraw(&settings);
  tcsetattr(fd, TCSANOW, &settings);
}

static void connect_console(int fd) {
  for (int stream = 0; stream <= 2; stream++) dup2(fd, stream);
}

int main(void) {
  if (getpid() != 1) {
    fputs("pando-launch is the first process of a guest\n", stderr);
    return STATUS_NOT_STARTED;
  }
  if (ioperm(BOOT_STAGE_PORT, 3, 1) == 0) outb(STAGE_USER_SPACE, BOOT_STAGE_PORT);
  mount_at("devtmpfs", "/dev", 0, NULL);
  mount_at("proc", "/proc", 0, NULL);
  mount_at("sysfs", "/sys", 0, NULL);
  struct root root;
  wait_for(find_root, &root, "no device for the root");
  struct config config = root.config;
  mount_root(root.device, config.upper);
  int console = open_console();
  if (console < 0) fail("console");
  if (chdir("/root") < 0) fail("/root");
  mount_system();
  if (config.changes) show_changes();
  if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) fail("root");
  if (!config.terminal) set_raw(console);
  connect_console(console);
  sethostname("pando", 5);
  /* What a guest hands over is what its program made, not what it was told of this network. */
  if (!config.changes) connect_network();
  signal(SIGHUP, SIG_IGN);
  pid_t program = fork();
  if (program < 0) fail("fork");
  if (program == 0) {
    signal(SIGHUP, SIG_DFL);
    setsid();
    ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    run_program(&config);
  }
  for (;;) {
    int status;
    pid_t ended = wait(&status);
    if (ended < 0 && errno != EINTR) fail("wait");
    if (ended != program) continue;
    power_off(WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status));
  }
}
