/*
 * WATCH: what happens to the files of a folder, by inotify(7); with FILE_RECURSIVE also in the folders
 * below it, those made later included.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#define MASK (IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR)
#define EVENT_HEADER 8

struct place {
  struct place *next;
  int number;
  /* Path below the watched folder, ending in `/`; empty for itself. */
  char *prefix;
};

struct watching {
  struct connection *connection;
  struct watch events;
  struct place *places;
  char *root;
  int recursive;
};

static void watch_close(struct connection *connection) {
  struct watching *watching = connection->state;
  if (watching == NULL) return;
  connection->state = NULL;
  watch_remove(&watching->events);
  for (struct place *place = watching->places; place != NULL;) {
    struct place *next = place->next;
    free(place->prefix);
    free(place);
    place = next;
  }
  free(watching->root);
  free(watching);
}

static struct place *place_of(struct watching *watching, int number) {
  struct place *place = watching->places;
  while (place != NULL && place->number != number) place = place->next;
  return place;
}

static void forget(struct watching *watching, int number) {
  for (struct place **at = &watching->places; *at != NULL; at = &(*at)->next) {
    if ((*at)->number != number) continue;
    struct place *gone = *at;
    *at = gone->next;
    free(gone->prefix);
    free(gone);
    return;
  }
}

/* Watches root/prefix, and with `recursive` what is below it. */
static int add(struct watching *watching, const char *prefix) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", watching->root, prefix) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  int number = inotify_add_watch(watching->events.fd, path, MASK);
  if (number < 0) return -1;
  struct place *place = place_of(watching, number);
  if (place == NULL) {
    place = calloc(1, sizeof *place);
    if (place == NULL) return -1;
    place->number = number;
    place->next = watching->places;
    watching->places = place;
  }
  free(place->prefix);
  place->prefix = strdup(prefix);
  DIR *directory = watching->recursive ? opendir(path) : NULL;
  if (directory == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    struct stat st;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) continue;
    if (!S_ISDIR(st.st_mode)) continue;
    char below[4096];
    if (snprintf(below, sizeof below, "%s%s/", prefix, entry->d_name) < (int)sizeof below)
      add(watching, below);
  }
  closedir(directory);
  return 0;
}

static void tell(struct watching *watching, const struct inotify_event *event) {
  if (event->mask & IN_IGNORED) {
    forget(watching, event->wd);
    return;
  }
  const char *prefix = "";
  if (!(event->mask & IN_Q_OVERFLOW)) {
    struct place *place = place_of(watching, event->wd);
    if (place == NULL || event->len == 0) return;
    prefix = place->prefix;
  }
  char name[4096];
  int length = snprintf(name, sizeof name, "%s%s", prefix, event->len == 0 ? "" : event->name);
  if (length < 0 || length >= (int)sizeof name - 1) return;
  uint8_t head[EVENT_HEADER];
  put32(head, event->mask);
  put32(head + 4, event->cookie);
  connection_send2(watching->connection, REPLY_EVENT, head, sizeof head, name, length);
  if (watching->recursive && (event->mask & IN_ISDIR) && (event->mask & (IN_CREATE | IN_MOVED_TO))) {
    name[length] = '/';
    name[length + 1] = 0;
    add(watching, name);
  }
}

static void events_ready(struct watch *watch, uint32_t ready) {
  (void)ready;
  static char bytes[16384] __attribute__((aligned(8)));
  struct watching *watching = watch->owner;
  ssize_t got = read(watch->fd, bytes, sizeof bytes);
  for (ssize_t at = 0; at < got;) {
    const struct inotify_event *event = (const struct inotify_event *)(bytes + at);
    tell(watching, event);
    at += sizeof *event + event->len;
  }
  /* The kernel keeps what a slow host does not take, and tells when it has to drop some. */
  if (connection_full(watching->connection)) watch_set(watch, 0);
}

static void watch_drained(struct connection *connection) {
  struct watching *watching = connection->state;
  if (watching != NULL) watch_set(&watching->events, EPOLLIN);
}

static const struct service WATCH = {.drained = watch_drained, .close = watch_close};

void watch_start(struct connection *connection, const struct request *request) {
  struct watching *watching = calloc(1, sizeof *watching);
  if (watching == NULL) {
    connection_fail(connection, ENOMEM, "watch");
    return;
  }
  watching->connection = connection;
  watching->events.fd = -1;
  watching->root = request_text(request, FIELD_PATH);
  watching->recursive = (request_number(request, FIELD_FLAGS, 0) & FILE_RECURSIVE) != 0;
  connection->service = &WATCH;
  connection->state = watching;
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  int error = watching->root == NULL ? EINVAL : fd < 0 ? errno : 0;
  if (fd >= 0) watch_add(&watching->events, fd, EPOLLIN, events_ready, watching);
  if (error == 0 && add(watching, "") < 0) error = errno;
  if (error == 0) {
    connection_send(connection, REPLY_OK, "", 0);
    return;
  }
  watch_close(connection);
  connection_fail(connection, error, "watch");
}
