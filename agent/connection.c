/* A connection: frames in, frames out, and the service that its first frame chose. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

/* Output that waits for a slow host; services stop producing above it. */
#define OUTPUT_FULL (256 * 1024)
#define BUILD_VERSION "1"

static void on_ready(struct watch *watch, uint32_t events);

/* Connections that have been closed in this turn of the loop. */
static struct connection *dead;

static void bury(void) {
  while (dead != NULL) {
    struct connection *next = dead->next;
    free(dead);
    dead = next;
  }
}

void connection_open(int fd) {
  struct connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL) {
    close(fd);
    return;
  }
  if (watch_add(&connection->watch, fd, EPOLLIN, on_ready, connection) < 0) {
    close(fd);
    free(connection);
  }
}

void connection_close(struct connection *connection) {
  if (connection->closed) return;
  connection->closed = 1;
  watch_remove(&connection->watch);
  if (connection->service != NULL && connection->service->close != NULL)
    connection->service->close(connection);
  buffer_free(&connection->input);
  buffer_free(&connection->output);
  connection->next = dead;
  dead = connection;
}

int connection_full(const struct connection *connection) {
  return buffer_length(&connection->output) >= OUTPUT_FULL;
}

static void want(struct connection *connection) {
  uint32_t events = 0;
  if (buffer_length(&connection->output) > 0) events |= EPOLLOUT;
  /* The host never ends its half alone: a paused connection must see that it has gone. */
  events |= connection->paused ? EPOLLRDHUP : EPOLLIN;
  watch_set(&connection->watch, events);
}

/* Writes what the socket takes, and lets the service make more where there is room for it. */
static void flush(struct connection *connection) {
  struct buffer *output = &connection->output;
  int wrote = 0;
  while (buffer_length(output) > 0) {
    ssize_t sent = send(connection->watch.fd, output->bytes + output->start,
                        buffer_length(output), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        connection_close(connection);
        return;
      }
      break;
    }
    buffer_take(output, sent);
    wrote = 1;
  }
  /* The host closes first: it may be sending, and an error of that would cost it what it has not read. */
  if (buffer_length(output) == 0 && connection->finishing) shutdown(connection->watch.fd, SHUT_WR);
  want(connection);
  if (wrote && !connection_full(connection) && connection->service != NULL &&
      connection->service->drained != NULL)
    connection->service->drained(connection);
}

void connection_send2(struct connection *connection, uint8_t type, const void *head,
                      size_t head_length, const void *payload, size_t length) {
  if (connection->closed || connection->finishing) return;
  uint8_t header[FRAME_HEADER] = {0};
  put32(header, head_length + length);
  header[4] = type;
  struct buffer *output = &connection->output;
  if (buffer_append(output, header, sizeof header) < 0 ||
      buffer_append(output, head, head_length) < 0 ||
      buffer_append(output, payload, length) < 0) {
    /* Without memory the stream is broken: the loop closes it. */
    buffer_take(output, buffer_length(output));
    connection_finish(connection);
  }
  watch_set(&connection->watch, connection->watch.events | EPOLLOUT);
}

void connection_send(struct connection *connection, uint8_t type, const void *payload,
                     size_t length) {
  connection_send2(connection, type, payload, length, "", 0);
}

void connection_finish(struct connection *connection) {
  connection->finishing = 1;
  connection->paused = 0;
  watch_set(&connection->watch, EPOLLIN | EPOLLOUT);
}

/* Answers with an error of the system (errno) and ends the connection. */
void connection_fail(struct connection *connection, int error, const char *what) {
  uint8_t number[4];
  put32(number, error);
  connection_send2(connection, REPLY_ERROR, number, sizeof number, what, strlen(what));
  connection_finish(connection);
}

static void ping(struct connection *connection) {
  uint8_t version[4];
  put32(version, PROTOCOL_VERSION);
  connection_send2(connection, REPLY_OK, version, sizeof version, BUILD_VERSION,
                   strlen(BUILD_VERSION));
  connection_finish(connection);
}

static void dispatch(struct connection *connection, uint8_t type, const uint8_t *payload,
                     size_t length) {
  struct request request = {.payload = payload, .length = length};
  if (request_check(&request) < 0) {
    connection_fail(connection, EPROTO, "the fields of the request do not fill it");
    return;
  }
  if (type == REQUEST_PING) {
    ping(connection);
    return;
  }
  if (request_number(&request, FIELD_VERSION, 0) != PROTOCOL_VERSION) {
    connection_fail(connection, EPROTONOSUPPORT, "the agent speaks protocol version 1");
    return;
  }
  switch (type) {
    case REQUEST_EXEC: exec_start(connection, &request); break;
    case REQUEST_CONNECT: forward_start(connection, &request); break;
    case REQUEST_SYSTEM: system_start(connection, &request); break;
    case REQUEST_STAT: stat_start(connection, &request); break;
    case REQUEST_LIST: list_start(connection, &request); break;
    case REQUEST_READ: read_start(connection, &request); break;
    case REQUEST_WRITE: write_start(connection, &request); break;
    case REQUEST_WATCH: watch_start(connection, &request); break;
    case REQUEST_MKDIR:
    case REQUEST_RENAME:
    case REQUEST_REMOVE:
    case REQUEST_CHMOD:
    case REQUEST_SYMLINK: change_start(connection, type, &request); break;
    default: connection_fail(connection, EPROTO, "the request is not known");
  }
}

/* Hands over the frames that are whole. */
static void take_frames(struct connection *connection) {
  struct buffer *input = &connection->input;
  while (!connection->closed && !connection->finishing && !connection->paused &&
         buffer_length(input) >= FRAME_HEADER) {
    const uint8_t *head = input->bytes + input->start;
    uint32_t length = get32(head);
    if (length > FRAME_PAYLOAD_MAX || head[5] != 0 || head[6] != 0 || head[7] != 0) {
      connection_fail(connection, EPROTO, "a frame is malformed");
      return;
    }
    if (buffer_length(input) < FRAME_HEADER + length) return;
    uint8_t type = head[4];
    if (connection->service == NULL) {
      dispatch(connection, type, head + FRAME_HEADER, length);
    } else if (connection->service->input == NULL ||
               connection->service->input(connection, type, head + FRAME_HEADER, length) < 0) {
      connection_fail(connection, EPROTO, "a frame does not belong to the request");
    }
    if (!connection->closed) buffer_take(input, FRAME_HEADER + length);
  }
}

/* Stops taking frames from the host, or goes on. */
void connection_pause(struct connection *connection, int paused) {
  if (connection->paused == paused) return;
  connection->paused = paused;
  want(connection);
  if (!paused) take_frames(connection);
}

/* False when the connection is closed. */
static int receive(struct connection *connection) {
  static uint8_t bytes[65536];
  ssize_t got = recv(connection->watch.fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return 0;
  if (connection->finishing) return 1;
  if (buffer_append(&connection->input, bytes, got) < 0) return 0;
  take_frames(connection);
  return !connection->closed;
}

static void on_ready(struct watch *watch, uint32_t events) {
  struct connection *connection = watch->owner;
  bury();
  int open = (events & EPOLLIN) ? receive(connection) : !(events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
  if (!open) {
    connection_close(connection);
    return;
  }
  flush(connection);
}
