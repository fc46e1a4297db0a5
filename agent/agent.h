/*
 * The agent: one loop over epoll(7) serves all connections. A connection is one request; what it needs
 * (a command, a file, a socket) belongs to it and goes with it.
 */
#ifndef PANDO_AGENT_H
#define PANDO_AGENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/* A file descriptor that the loop watches. */
struct watch {
  int fd;
  uint32_t events;
  void (*ready)(struct watch *watch, uint32_t events);
  void *owner;
};

/* Bytes that wait to be written. */
struct buffer {
  uint8_t *bytes;
  size_t start;
  size_t end;
  size_t capacity;
};

struct connection;

/* What a kind of request does. Each may be absent. */
struct service {
  /* A frame after the request. Negative: the host breaks the protocol. */
  int (*input)(struct connection *connection, uint8_t type, const uint8_t *payload, size_t length);
  /* The output has drained: there is room for more. */
  void (*drained)(struct connection *connection);
  /* The host has gone, or all is said: let go of everything. */
  void (*close)(struct connection *connection);
};

struct connection {
  struct watch watch;
  struct connection *next;
  const struct service *service;
  /* What the service keeps for this request. */
  void *state;
  struct buffer input;
  struct buffer output;
  /* All has been said: the host closes when it has read it. */
  int finishing;
  /* No frames are taken from the host for now. */
  int paused;
  int closed;
};

/* A request's fields, checked. */
struct field {
  uint16_t tag;
  uint32_t length;
  const uint8_t *bytes;
};

struct request {
  const uint8_t *payload;
  size_t length;
};

/* loop.c */
int loop_init(void);
int watch_add(struct watch *watch, int fd, uint32_t events,
              void (*ready)(struct watch *, uint32_t), void *owner);
int watch_set(struct watch *watch, uint32_t events);
void watch_remove(struct watch *watch);
void loop_run(void);

/* buffer.c */
int buffer_append(struct buffer *buffer, const void *bytes, size_t length);
void buffer_take(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);
static inline size_t buffer_length(const struct buffer *buffer) {
  return buffer->end - buffer->start;
}

/* connection.c */
void connection_open(int fd);
void connection_send(struct connection *connection, uint8_t type, const void *payload,
                     size_t length);
void connection_send2(struct connection *connection, uint8_t type, const void *head,
                      size_t head_length, const void *payload, size_t length);
void connection_fail(struct connection *connection, int error, const char *what);
void connection_finish(struct connection *connection);
void connection_close(struct connection *connection);
void connection_pause(struct connection *connection, int paused);
/* Whether the host is slow: services that produce stop until `drained`. */
int connection_full(const struct connection *connection);

/* request.c */
int request_next(const struct request *request, size_t *at, struct field *field);
int request_check(const struct request *request);
int request_find(const struct request *request, uint16_t tag, struct field *field);
/* A copy that ends in a zero byte, NULL when the field is absent; fields hold no zero bytes. */
char *request_text(const struct request *request, uint16_t tag);
uint64_t request_number(const struct request *request, uint16_t tag, uint64_t otherwise);

static inline uint32_t get32(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}
static inline void put32(uint8_t *bytes, uint32_t value) {
  for (int i = 0; i < 4; i++) bytes[i] = value >> (8 * i);
}
static inline void put64(uint8_t *bytes, uint64_t value) {
  for (int i = 0; i < 8; i++) bytes[i] = value >> (8 * i);
}

/* Each starts a request; the connection has been given to it. */
void exec_start(struct connection *connection, const struct request *request);
void forward_start(struct connection *connection, const struct request *request);
void system_start(struct connection *connection, const struct request *request);
void read_start(struct connection *connection, const struct request *request);
void write_start(struct connection *connection, const struct request *request);
void list_start(struct connection *connection, const struct request *request);
void watch_start(struct connection *connection, const struct request *request);
void stat_start(struct connection *connection, const struct request *request);
/* MKDIR, RENAME, REMOVE, CHMOD, SYMLINK. */
void change_start(struct connection *connection, uint8_t type, const struct request *request);

/* exec.c: children that have ended. */
void exec_reap(void);

/* entry.c: what STAT, LIST and WATCH say of a file. */
size_t entry_encode(uint8_t *into, size_t room, int directory, const char *name,
                    const char *shown, int follow);

/* directories.c */
int make_directories(const char *path, mode_t mode);
int remove_tree(const char *path);

#endif
