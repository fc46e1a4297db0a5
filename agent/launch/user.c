/*
 * Becomes the user and the program: `user`, `user:group`, names of the image's own /etc/passwd and
 * /etc/group or numbers, as the OCI Image Format Specification has it (config.md, "User").
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch.h"

#define STATUS_NOT_STARTED 125
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND 127

static const char default_path[] =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static _Noreturn void refuse(const char *what, const char *why, int status) {
  dprintf(STDERR_FILENO, "pando-launch: %s: %s\n", what, why);
  _exit(status);
}

static int number_of(const char *text, unsigned *value) {
  char *end;
  unsigned long parsed = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != 0 || parsed > 0xfffffffeul) return 0;
  *value = parsed;
  return 1;
}

static int has(char **environment, const char *name) {
  size_t length = strlen(name);
  for (; *environment != NULL; environment++)
    if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') return 1;
  return 0;
}

/* Adds a variable unless it is set; there is room for three more than the host gave. */
static void add_default(char **environment, const char *name, const char *variable) {
  if (has(environment, name)) return;
  while (*environment != NULL) environment++;
  environment[0] = (char *)variable;
  environment[1] = NULL;
}

/* Returns the user's home. */
static const char *become_user(const char *specification) {
  char *user = strdup(specification);
  char *group = strchr(user, ':');
  if (group != NULL) *group++ = 0;
  unsigned uid = 0;
  unsigned gid = 0;
  int numeric = *user == 0 || number_of(user, &uid);
  struct passwd *entry = numeric ? getpwuid(uid) : getpwnam(user);
  if (entry == NULL && !numeric) refuse(user, "no such user in /etc/passwd", STATUS_NOT_STARTED);
  const char *home = "/";
  char *name = NULL;
  if (entry != NULL) {
    uid = entry->pw_uid;
    gid = entry->pw_gid;
    name = strdup(entry->pw_name);
    home = strdup(entry->pw_dir);
  }
  int own = group != NULL && *group != 0;
  if (own && !number_of(group, &gid)) {
    struct group *found = getgrnam(group);
    if (found == NULL) refuse(group, "no such group in /etc/group", STATUS_NOT_STARTED);
    gid = found->gr_gid;
  }
  /* A group of one's own takes the place of those in /etc/group. */
  int failed = name != NULL && !own ? initgroups(name, gid) : setgroups(0, NULL);
  if (failed < 0 || setgid(gid) < 0 || setuid(uid) < 0)
    refuse(specification, strerror(errno), STATUS_NOT_STARTED);
  return home;
}

/* Makes a folder with its parents where it is missing, as container engines do. */
static void enter(const char *path) {
  char *copy = strdup(path);
  for (char *at = copy; *at != 0 && (at = strchr(at + 1, '/')) != NULL;) {
    *at = 0;
    mkdir(copy, 0755);
    *at = '/';
  }
  mkdir(copy, 0755);
  if (chdir(path) < 0) refuse(path, strerror(errno), STATUS_NOT_STARTED);
}

void run_program(struct config *config) {
  if (config->arguments[0] == NULL)
    refuse("the image", "it names no command, and none was given", STATUS_NOT_STARTED);
  if (*config->directory != 0) enter(config->directory);
  const char *home = become_user(config->user);
  size_t count = 0;
  while (config->environment[count] != NULL) count++;
  char **environment = calloc(count + 4, sizeof *environment);
  memcpy(environment, config->environment, count * sizeof *environment);
  char *home_variable;
  if (asprintf(&home_variable, "HOME=%s", home) < 0) _exit(STATUS_NOT_STARTED);
  add_default(environment, "PATH", default_path);
  add_default(environment, "HOME", home_variable);
  if (config->terminal) add_default(environment, "TERM", "TERM=vt102");
  /* execvpe looks in this process's own PATH. */
  environ = environment;
  execvpe(config->arguments[0], config->arguments, environment);
  int missing = errno == ENOENT || errno == ENOTDIR;
  refuse(config->arguments[0], strerror(errno), missing ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}
