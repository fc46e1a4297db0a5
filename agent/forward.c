/* CONNECT: a TCP connection to a port of the guest's own, relayed both ways with half-close. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

#define CHUNK 32768
/* The host's bytes that the guest's program has not taken; above it the host waits. */
#define PENDING_FULL 65536

struct forward {
  struct connection *connection;
  struct watch socket;
  struct buffer pending;
  int connected;
  int host_ended;
  int guest_ended;
};

static void forward_close(struct connection *connection) {
  struct forward *forward = connection->state;
  if (forward == NULL) return;
  connection->state = NULL;
  watch_remove(&forward->socket);
  buffer_free(&forward->pending);
  free(forward);
}

static void want(struct forward *forward) {
  uint32_t events = 0;
  if (!forward->connected || buffer_length(&forward->pending) > 0) events |= EPOLLOUT;
  if (forward->connected && !forward->guest_ended && !connection_full(forward->connection))
    events |= EPOLLIN;
  watch_set(&forward->socket, events);
}

static void finish_when_both_ended(struct forward *forward) {
  if (!forward->guest_ended || !forward->host_ended || buffer_length(&forward->pending) > 0) return;
  struct connection *connection = forward->connection;
  forward_close(connection);
  connection_finish(connection);
}

/* False when the connection has failed and been answered. */
static int write_pending(struct forward *forward) {
  struct buffer *pending = &forward->pending;
  while (buffer_length(pending) > 0) {
    ssize_t sent = send(forward->socket.fd, pending->bytes + pending->start, buffer_length(pending),
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return 1;
    if (sent < 0) {
      connection_fail(forward->connection, errno, "send");
      return 0;
    }
    buffer_take(pending, sent);
  }
  if (forward->host_ended) shutdown(forward->socket.fd, SHUT_WR);
  return 1;
}

static void socket_ready(struct watch *watch, uint32_t events) {
  static uint8_t bytes[CHUNK];
  struct forward *forward = watch->owner;
  struct connection *connection = forward->connection;
  if (!forward->connected) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      forward_close(connection);
      connection_fail(connection, error, "connect");
      return;
    }
    forward->connected = 1;
    connection_send(connection, REPLY_OK, "", 0);
  }
  if (!write_pending(forward)) {
    forward_close(connection);
    return;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    ssize_t got = forward->guest_ended ? -1 : recv(watch->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) {
      connection_send(connection, REPLY_DATA, bytes, got);
    } else if (got == 0) {
      forward->guest_ended = 1;
      connection_send(connection, REPLY_END, "", 0);
    } else if (!forward->guest_ended && errno != EAGAIN && errno != EINTR) {
      int error = errno;
      forward_close(connection);
      connection_fail(connection, error, "recv");
      return;
    } else if (forward->guest_ended && (events & (EPOLLHUP | EPOLLERR))) {
      /* Nothing more will be taken. */
      forward->host_ended = 1;
      buffer_free(&forward->pending);
    }
  }
  want(forward);
  connection_pause(connection, buffer_length(&forward->pending) >= PENDING_FULL);
  if (connection->state != NULL) finish_when_both_ended(forward);
}

static int forward_input(struct connection *connection, uint8_t type, const uint8_t *payload,
                         size_t length) {
  struct forward *forward = connection->state;
  if (forward == NULL) return 0;
  if (forward->host_ended && type != INPUT_END) return -1;
  if (type == INPUT_DATA) {
    if (buffer_append(&forward->pending, payload, length) < 0) return -1;
  } else if (type == INPUT_END) {
    forward->host_ended = 1;
  } else {
    return -1;
  }
  if (forward->connected && !write_pending(forward)) {
    forward_close(connection);
    return 0;
  }
  if (buffer_length(&forward->pending) >= PENDING_FULL) connection_pause(connection, 1);
  want(forward);
  finish_when_both_ended(forward);
  return 0;
}

static void forward_drained(struct connection *connection) {
  if (connection->state != NULL) want(connection->state);
}

static const struct service FORWARD = {
    .input = forward_input, .drained = forward_drained, .close = forward_close};

void forward_start(struct connection *connection, const struct request *request) {
  uint64_t port = request_number(request, FIELD_PORT, 0);
  char *address = request_text(request, FIELD_ADDRESS);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  int valid = port > 0 && port < 65536 &&
              inet_pton(AF_INET, address == NULL ? "127.0.0.1" : address, &to.sin_addr) == 1;
  free(address);
  if (!valid) {
    connection_fail(connection, EINVAL, "the port or the address");
    return;
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct forward *forward = calloc(1, sizeof *forward);
  if (fd < 0 || forward == NULL ||
      (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)) {
    connection_fail(connection, fd >= 0 && forward == NULL ? ENOMEM : errno, "connect");
    if (fd >= 0) close(fd);
    free(forward);
    return;
  }
  forward->connection = connection;
  connection->service = &FORWARD;
  connection->state = forward;
  watch_add(&forward->socket, fd, EPOLLOUT, socket_ready, forward);
}
