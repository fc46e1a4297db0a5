/* LIST: a folder and, to a depth, those below it; entries go out as the host takes them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* Folders that may be open at a time. */
#define DEPTH_MAX 64

struct level {
  DIR *directory;
  /* The folder's path below the one that was asked for, with a `/` at its end; the first is empty. */
  char *prefix;
};

struct listing {
  struct level levels[DEPTH_MAX];
  int depth;
  int depth_limit;
};

static void leave(struct listing *listing) {
  struct level *level = &listing->levels[--listing->depth];
  closedir(level->directory);
  free(level->prefix);
}

static void list_close(struct connection *connection) {
  struct listing *listing = connection->state;
  if (listing == NULL) return;
  connection->state = NULL;
  while (listing->depth > 0) leave(listing);
  free(listing);
}

/* Takes ownership of `fd` and `prefix`. */
static int enter(struct listing *listing, int fd, char *prefix) {
  DIR *directory = fd < 0 || prefix == NULL ? NULL : fdopendir(fd);
  if (directory == NULL) {
    int error = errno;
    if (fd >= 0) close(fd);
    free(prefix);
    errno = error;
    return -1;
  }
  listing->levels[listing->depth++] = (struct level){.directory = directory, .prefix = prefix};
  return 0;
}

/* The path of an entry below the folder that was asked for; NULL without memory. */
static char *joined(const char *prefix, const char *name, const char *end) {
  size_t length = strlen(prefix) + strlen(name) + strlen(end) + 1;
  char *path = malloc(length);
  if (path != NULL) snprintf(path, length, "%s%s%s", prefix, name, end);
  return path;
}

static void send_entry(struct connection *connection, struct listing *listing, const char *name) {
  static uint8_t bytes[FRAME_PAYLOAD_MAX];
  struct level *level = &listing->levels[listing->depth - 1];
  int fd = dirfd(level->directory);
  char *path = joined(level->prefix, name, "");
  size_t length = path == NULL ? 0 : entry_encode(bytes, sizeof bytes, fd, name, path, 0);
  free(path);
  /* A file that went in between is not there. */
  if (length == 0) return;
  connection_send(connection, REPLY_ENTRY, bytes, length);
  if (!S_ISDIR(get32(bytes)) || listing->depth >= listing->depth_limit) return;
  int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (below >= 0) enter(listing, below, joined(level->prefix, name, "/"));
}

static void list_more(struct connection *connection) {
  struct listing *listing = connection->state;
  if (listing == NULL) return;
  while (!connection_full(connection) && !connection->closed) {
    if (listing->depth == 0) {
      connection_send(connection, REPLY_END, "", 0);
      list_close(connection);
      connection_finish(connection);
      return;
    }
    struct dirent *entry = readdir(listing->levels[listing->depth - 1].directory);
    if (entry == NULL)
      leave(listing);
    else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      send_entry(connection, listing, entry->d_name);
  }
}

static const struct service LIST = {.drained = list_more, .close = list_close};

void list_start(struct connection *connection, const struct request *request) {
  char *path = request_text(request, FIELD_PATH);
  uint64_t depth = request_number(request, FIELD_DEPTH, 1);
  struct listing *listing = calloc(1, sizeof *listing);
  if (path == NULL || depth == 0 || listing == NULL) {
    connection_fail(connection, EINVAL, "the path or the depth");
    free(listing);
    free(path);
    return;
  }
  listing->depth_limit = depth > DEPTH_MAX ? DEPTH_MAX : depth;
  if (enter(listing, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), strdup("")) < 0) {
    connection_fail(connection, errno, path);
    free(listing);
  } else {
    connection->service = &LIST;
    connection->state = listing;
    connection_send(connection, REPLY_OK, "", 0);
    list_more(connection);
  }
  free(path);
}
