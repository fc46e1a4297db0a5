/* The loop over epoll(7). A watch that is removed while events of it wait is not called any more. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent.h"

#define EVENTS 64

static int epoll_fd = -1;
/* The events of this turn, for watch_remove to strike out. */
static struct epoll_event turn[EVENTS];
static int turn_length;

int loop_init(void) {
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  return epoll_fd < 0 ? -1 : 0;
}

static void strike(const struct watch *watch) {
  for (int i = 0; i < turn_length; i++)
    if (turn[i].data.ptr == watch) turn[i].data.ptr = NULL;
}

int watch_add(struct watch *watch, int fd, uint32_t events,
              void (*ready)(struct watch *, uint32_t), void *owner) {
  watch->fd = fd;
  watch->events = 0;
  watch->ready = ready;
  watch->owner = owner;
  return watch_set(watch, events);
}

/*
 * Without events the descriptor is not watched at all: epoll would go on telling of its end (EPOLLHUP),
 * which nobody takes.
 */
int watch_set(struct watch *watch, uint32_t events) {
  if (watch->fd < 0 || watch->events == events) return 0;
  int change = watch->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  struct epoll_event event = {.events = events, .data = {.ptr = watch}};
  if (epoll_ctl(epoll_fd, change, watch->fd, &event) < 0) return -1;
  watch->events = events;
  if (events == 0) strike(watch);
  return 0;
}

/* Closes the descriptor, too. */
void watch_remove(struct watch *watch) {
  if (watch->fd < 0) return;
  watch_set(watch, 0);
  strike(watch);
  close(watch->fd);
  watch->fd = -1;
}

void loop_run(void) {
  for (;;) {
    turn_length = 0;
    int count = epoll_wait(epoll_fd, turn, EVENTS, -1);
    if (count < 0 && errno != EINTR) exit(1);
    turn_length = count < 0 ? 0 : count;
    for (int i = 0; i < turn_length; i++) {
      struct watch *watch = turn[i].data.ptr;
      if (watch != NULL) watch->ready(watch, turn[i].events);
    }
  }
}
