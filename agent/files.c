/* READ and WRITE: the bytes of one file, streamed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#define CHUNK 65536

struct file {
  int fd;
  uint64_t left;
};

static void file_close(struct connection *connection) {
  struct file *file = connection->state;
  if (file == NULL) return;
  connection->state = NULL;
  close(file->fd);
  free(file);
}

static struct file *file_open(struct connection *connection, const struct service *service, int fd) {
  struct file *file = calloc(1, sizeof *file);
  if (file == NULL) return NULL;
  file->fd = fd;
  connection->service = service;
  connection->state = file;
  return file;
}

/* ---- READ ---- */

static void read_more(struct connection *connection) {
  static uint8_t bytes[CHUNK];
  struct file *file = connection->state;
  if (file == NULL) return;
  while (!connection_full(connection) && !connection->closed) {
    ssize_t got = 0;
    if (file->left > 0)
      got = read(file->fd, bytes, file->left < sizeof bytes ? file->left : sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      file->left -= got;
      connection_send(connection, REPLY_DATA, bytes, got);
      continue;
    }
    int error = got < 0 ? errno : 0;
    file_close(connection);
    if (error != 0) {
      connection_fail(connection, error, "read");
    } else {
      connection_send(connection, REPLY_END, "", 0);
      connection_finish(connection);
    }
    return;
  }
}

static const struct service READ = {.drained = read_more, .close = file_close};

void read_start(struct connection *connection, const struct request *request) {
  char *path = request_text(request, FIELD_PATH);
  if (path == NULL) {
    connection_fail(connection, EINVAL, "the path");
    return;
  }
  struct stat st;
  /* Without O_NONBLOCK a FIFO would hold the agent. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int error = fd < 0 || fstat(fd, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
  uint64_t offset = request_number(request, FIELD_OFFSET, 0);
  if (error == 0 && offset > 0 && lseek(fd, offset, SEEK_SET) < 0) error = errno;
  struct file *file = error == 0 ? file_open(connection, &READ, fd) : NULL;
  if (file == NULL) {
    if (fd >= 0) close(fd);
    connection_fail(connection, error == 0 ? ENOMEM : error, path);
  } else {
    uint8_t size[8];
    put64(size, st.st_size);
    file->left = request_number(request, FIELD_LENGTH, UINT64_MAX);
    connection_send(connection, REPLY_OK, size, sizeof size);
    read_more(connection);
  }
  free(path);
}

/* ---- WRITE ---- */

static int write_input(struct connection *connection, uint8_t type, const uint8_t *payload,
                       size_t length) {
  struct file *file = connection->state;
  if (file == NULL) return 0;
  if (type == INPUT_END) {
    file_close(connection);
    connection_send(connection, REPLY_END, "", 0);
    connection_finish(connection);
    return 0;
  }
  if (type != INPUT_DATA) return -1;
  while (length > 0) {
    ssize_t wrote = write(file->fd, payload, length);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      int error = errno;
      file_close(connection);
      connection_fail(connection, error, "write");
      return 0;
    }
    payload += wrote;
    length -= wrote;
  }
  return 0;
}

static const struct service WRITE = {.input = write_input, .close = file_close};

void write_start(struct connection *connection, const struct request *request) {
  char *path = request_text(request, FIELD_PATH);
  if (path == NULL) {
    connection_fail(connection, EINVAL, "the path");
    return;
  }
  uint64_t flags = request_number(request, FIELD_FLAGS, 0);
  mode_t mode = request_number(request, FIELD_MODE, 0644);
  int how = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK;
  how |= flags & FILE_APPEND ? O_APPEND : O_TRUNC;
  if (flags & FILE_EXCLUSIVE) how |= O_EXCL;
  int error = 0;
  char *slash = strrchr(path, '/');
  if ((flags & FILE_PARENTS) && slash != NULL && slash != path) {
    *slash = 0;
    if (make_directories(path, 0755) < 0) error = errno;
    *slash = '/';
  }
  int fd = error == 0 ? open(path, how, mode & 07777) : -1;
  if (error == 0 && fd < 0) error = errno;
  if (error == 0 && file_open(connection, &WRITE, fd) == NULL) {
    close(fd);
    error = ENOMEM;
  }
  if (error == 0) connection_send(connection, REPLY_OK, "", 0);
  else connection_fail(connection, error, path);
  free(path);
}
