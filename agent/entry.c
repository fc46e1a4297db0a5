/*
 * A file as STAT and LIST tell of it: kind, mode, owner, size, times, link target, name
 * (docs/agent.md, "Entries").
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#define ENTRY_FIXED 60

/*
 * Encodes what `name` in `directory` is, with `shown` as its name. 0 with errno when it cannot be told.
 */
size_t entry_encode(uint8_t *into, size_t room, int directory, const char *name,
                    const char *shown, int follow) {
  struct stat st;
  if (fstatat(directory, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) return 0;
  char target[4096];
  ssize_t target_length = 0;
  if (S_ISLNK(st.st_mode)) {
    target_length = readlinkat(directory, name, target, sizeof target);
    if (target_length < 0) return 0;
  }
  size_t shown_length = strlen(shown);
  size_t length = ENTRY_FIXED + target_length + shown_length;
  if (length > room) {
    errno = ENAMETOOLONG;
    return 0;
  }
  put32(into, st.st_mode);
  put32(into + 4, st.st_uid);
  put32(into + 8, st.st_gid);
  put32(into + 12, st.st_nlink);
  put64(into + 16, st.st_size);
  put64(into + 24, st.st_ino);
  put64(into + 32, st.st_mtim.tv_sec * 1000000000ull + st.st_mtim.tv_nsec);
  put64(into + 40, st.st_ctim.tv_sec * 1000000000ull + st.st_ctim.tv_nsec);
  put64(into + 48, st.st_blocks * 512ull);
  put32(into + 56, target_length);
  memcpy(into + ENTRY_FIXED, target, target_length);
  memcpy(into + ENTRY_FIXED + target_length, shown, shown_length);
  return length;
}

void stat_start(struct connection *connection, const struct request *request) {
  static uint8_t bytes[FRAME_PAYLOAD_MAX];
  char path[4097];
  struct field field;
  if (!request_find(request, FIELD_PATH, &field) || field.length == 0 || field.length > 4096 ||
      memchr(field.bytes, 0, field.length) != NULL) {
    connection_fail(connection, EINVAL, "the path");
    return;
  }
  memcpy(path, field.bytes, field.length);
  path[field.length] = 0;
  int follow = (request_number(request, FIELD_FLAGS, 0) & FILE_FOLLOW) != 0;
  size_t length = entry_encode(bytes, sizeof bytes, AT_FDCWD, path, path, follow);
  if (length == 0) {
    connection_fail(connection, errno, path);
    return;
  }
  connection_send(connection, REPLY_OK, bytes, length);
  connection_finish(connection);
}
