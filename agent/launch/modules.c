/*
 * Kernel modules, as modprobe loads them: modules.alias leads from a device to its driver, modules.dep
 * from a module to what it depends on (modules.dep(5), init_module(2)). Both stand in the initrd.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "launch.h"

#define TABLE_MAX (1 << 20)

static char folder[256];

/* A table of this kernel's modules as text; NULL where the initrd has none. */
static char *table(const char *name) {
  struct utsname system;
  uname(&system);
  snprintf(folder, sizeof folder, "/lib/modules/%s", system.release);
  char path[300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  char *text = malloc(TABLE_MAX);
  if (text != NULL && read_text(path, text, TABLE_MAX) >= 0) return text;
  free(text);
  return NULL;
}

static void insert(const char *path) {
  char whole[512];
  snprintf(whole, sizeof whole, "%s/%s", folder, path);
  int fd = open(whole, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)) fail(whole);
  close(fd);
}

/* Whether a path of modules.dep is the module of this name; "-" and "_" are one. */
static int is_module(const char *path, size_t length, const char *name) {
  const char *base = memrchr(path, '/', length);
  base = base == NULL ? path : base + 1;
  size_t size = strlen(name);
  if ((size_t)(path + length - base) < size + 1 || base[size] != '.') return 0;
  for (size_t index = 0; index < size; index++) {
    char letter = base[index] == '-' ? '_' : base[index];
    if (letter != (name[index] == '-' ? '_' : name[index])) return 0;
  }
  return 1;
}

void load_module(const char *name) {
  char *text = table("modules.dep");
  if (text == NULL) return;
  for (char *line = text, *next; line != NULL; line = next) {
    next = strchr(line, '\n');
    if (next != NULL) *next++ = 0;
    char *colon = strchr(line, ':');
    if (colon == NULL || !is_module(line, colon - line, name)) continue;
    *colon = 0;
    /* What is needed first stands last. */
    for (char *last; (last = strrchr(colon + 1, ' ')) != NULL; *last = 0)
      if (last[1] != 0) insert(last + 1);
    insert(line);
    break;
  }
  free(text);
}

static void load_driver(const char *alias) {
  char *text = table("modules.alias");
  if (text == NULL) return;
  for (char *line = text, *next; line != NULL; line = next) {
    next = strchr(line, '\n');
    if (next != NULL) *next++ = 0;
    char *pattern = strchr(line, ' ');
    char *module = pattern == NULL ? NULL : strchr(pattern + 1, ' ');
    if (module == NULL || strncmp(line, "alias ", 6) != 0) continue;
    *module++ = 0;
    if (fnmatch(pattern + 1, alias, 0) == 0) load_module(module);
  }
  free(text);
}

static void load_bus(const char *path) {
  DIR *devices = opendir(path);
  if (devices == NULL) return;
  for (struct dirent *device; (device = readdir(devices)) != NULL;) {
    char file[512];
    char alias[512];
    if (device->d_name[0] == '.') continue;
    snprintf(file, sizeof file, "%s/%s/modalias", path, device->d_name);
    if (read_text(file, alias, sizeof alias) <= 0) continue;
    alias[strcspn(alias, "\n")] = 0;
    if (*alias != 0) load_driver(alias);
  }
  closedir(devices);
}

void load_drivers(void) {
  /* A driver of one bus makes the devices of the next, the last of them when it has time (nd_device_register). */
  load_bus("/sys/bus/acpi/devices");
  load_bus("/sys/bus/virtio/devices");
  load_bus("/sys/bus/nd/devices");
}
