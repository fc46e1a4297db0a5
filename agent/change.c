/* MKDIR, RENAME, REMOVE, CHMOD, SYMLINK: one call, one answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

static int change(uint8_t type, const char *path, const char *target, uint64_t flags, mode_t mode) {
  switch (type) {
    case REQUEST_MKDIR:
      return flags & FILE_RECURSIVE ? make_directories(path, mode) : mkdir(path, mode);
    case REQUEST_RENAME:
      return rename(path, target);
    case REQUEST_REMOVE:
      if (flags & FILE_RECURSIVE) return remove_tree(path);
      if (unlink(path) == 0) return 0;
      return errno == EISDIR || errno == EPERM ? rmdir(path) : -1;
    case REQUEST_CHMOD:
      return chmod(path, mode);
    default:
      return symlink(target, path);
  }
}

void change_start(struct connection *connection, uint8_t type, const struct request *request) {
  char *path = request_text(request, FIELD_PATH);
  char *target = request_text(request, FIELD_TARGET);
  int needs_target = type == REQUEST_RENAME || type == REQUEST_SYMLINK;
  uint64_t flags = request_number(request, FIELD_FLAGS, 0);
  mode_t mode = request_number(request, FIELD_MODE, 0755) & 07777;
  if (path == NULL || (needs_target && target == NULL)) {
    connection_fail(connection, EINVAL, "the path");
  } else if (change(type, path, target, flags, mode) < 0) {
    connection_fail(connection, errno, path);
  } else {
    connection_send(connection, REPLY_OK, "", 0);
    connection_finish(connection);
  }
  free(path);
  free(target);
}
