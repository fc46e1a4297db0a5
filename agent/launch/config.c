/*
 * What the host wants to be run stands on the root's device behind the file system: a page or more of
 * "pandorun", u32 version, u32 length, then strings, each one letter, its text and a zero
 * (src/image/launch.ts writes it).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch.h"

/* Linux, fs/erofs/erofs_fs.h: the superblock, its magic, and how many blocks of 4 KiB there are. */
#define SUPER_OFFSET 1024
#define SUPER_MAGIC 0xe0f5e1e2u
#define SUPER_BLOCKS 36
#define BLOCK 4096

#define MAGIC "pandorun"
#define VERSION 1
#define BODY_MAX (8 << 20)

struct header {
  char magic[8];
  uint32_t version;
  uint32_t length;
};

static int read_at(int fd, void *into, size_t length, off_t at) {
  for (size_t done = 0; done < length;) {
    ssize_t got = pread(fd, (char *)into + done, length - done, at + done);
    if (got <= 0) return 0;
    done += got;
  }
  return 1;
}

static uint32_t word(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

/* Where the header is on a device; 0 where it has none. */
static off_t find_header(int fd, struct header *header) {
  uint8_t super[SUPER_BLOCKS + 4];
  if (!read_at(fd, super, sizeof super, SUPER_OFFSET) || word(super) != SUPER_MAGIC) return 0;
  off_t end = (off_t)word(super + SUPER_BLOCKS) * BLOCK;
  if (!read_at(fd, header, sizeof *header, end)) return 0;
  if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0 || header->version != VERSION ||
      header->length > BODY_MAX)
    return 0;
  return end;
}

int read_config(const char *device, struct config *config) {
  int fd = open(device, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  struct header header;
  off_t end = find_header(fd, &header);
  if (end == 0) {
    close(fd);
    return 0;
  }
  char *body = malloc(header.length + 1);
  /* Each list has fewer texts than the body has bytes, and ends with NULL. */
  char **lists = calloc(2 * (size_t)header.length + 2, sizeof *lists);
  if (body == NULL || lists == NULL) fail("memory");
  errno = ENODATA;
  if (!read_at(fd, body, header.length, end + sizeof header)) fail(device);
  body[header.length] = 0;
  close(fd);
  *config = (struct config){
      .arguments = lists, .environment = lists + header.length + 1,
      .user = "", .directory = "", .upper = ""};
  char **argument = config->arguments;
  char **variable = config->environment;
  for (char *text = body; text < body + header.length; text += strlen(text) + 1) {
    switch (*text) {
      case 'a': *argument++ = text + 1; break;
      case 'e': *variable++ = text + 1; break;
      case 'u': config->user = text + 1; break;
      case 'd': config->directory = text + 1; break;
      case 't': config->terminal = 1; break;
      case 'c': config->changes = 1; break;
      case 'w': config->upper = text + 1; break;
    }
  }
  return 1;
}
