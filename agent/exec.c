/*
 * EXEC: a command with pipes or a terminal (pty(7)), in a session and process group of its own. Input,
 * output and errors have credit each: none waits behind another, signals and sizes behind none. A host
 * that goes away takes the process group along.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

#define CHUNK 32768
/* More than a terminal keeps: 8 KiB on their way to its line discipline's 4 KiB. */
#define TERMINAL_LEFT 65536
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What a command writes. */
struct stream {
  struct command *command;
  struct watch watch;
  uint8_t type;
  /* Bytes that the host will still take. */
  uint32_t credit;
  /* Once the command has ended: bytes of it that have not been sent. */
  int left;
};

struct command {
  struct connection *connection;
  struct command *next;
  /* 0 once it has ended. */
  pid_t pid;
  int status;
  struct watch input;
  /* Output, or a terminal's both ways, and errors. */
  struct stream streams[2];
  /* What the command has not taken of its input. */
  struct buffer pending;
  int input_ended;
  int terminal;
};

/* How the child of a fork is to be set up. */
struct setup {
  char **arguments;
  char **environment;
  char *directory;
  int terminal;
  int drop;
  uid_t uid;
  gid_t gid;
  char *user;
  /* Descriptors for 0, 1 and 2. */
  int files[3];
  int report;
};

static struct command *commands;

static void input_ready(struct watch *watch, uint32_t events);

/* ---- The child ---- */

/* A shell's search, but in the PATH of the command's own environment. */
static void execute(char **arguments, char **environment) {
  if (strchr(arguments[0], '/') != NULL) {
    execve(arguments[0], arguments, environment);
    return;
  }
  const char *path = DEFAULT_PATH + 5;
  for (char **entry = environment; *entry != NULL; entry++)
    if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
  int found = ENOENT;
  while (*path != 0) {
    size_t length = strcspn(path, ":");
    char file[4096];
    if (snprintf(file, sizeof file, "%.*s/%s", (int)length, length == 0 ? "." : path, arguments[0]) <
        (int)sizeof file) {
      /* The kernel makes an address space for each try, also of what is not there. */
      if (access(file, F_OK) == 0) execve(file, arguments, environment);
      if (errno != ENOENT && errno != ENOTDIR) found = errno;
    }
    path += length + (path[length] == ':');
  }
  errno = found;
}

static void become(const struct setup *setup) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  for (int i = 0; i < 3; i++)
    if (dup2(setup->files[i], i) < 0) goto failed;
  if (setup->terminal && ioctl(0, TIOCSCTTY, 0) < 0) goto failed;
  if (setup->drop) {
    if (setup->user != NULL ? initgroups(setup->user, setup->gid) < 0 : setgroups(0, NULL) < 0)
      goto failed;
    if (setgid(setup->gid) < 0 || setuid(setup->uid) < 0) goto failed;
  }
  if (setup->directory != NULL && chdir(setup->directory) < 0) goto failed;
  execute(setup->arguments, setup->environment);
failed:;
  int error = errno;
  if (write(setup->report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

/* ---- What the host asked for ---- */

static char **list_of(const struct request *request, uint16_t tag, size_t spare) {
  struct field field;
  size_t count = 0;
  for (size_t at = 0; request_next(request, &at, &field);) count += field.tag == tag;
  char **list = calloc(count + spare + 1, sizeof *list);
  size_t i = 0;
  for (size_t at = 0; list != NULL && request_next(request, &at, &field);) {
    if (field.tag != tag) continue;
    list[i] = strndup((const char *)field.bytes, field.length);
    if (list[i] == NULL || strlen(list[i]) != field.length) {
      for (size_t j = 0; j <= i; j++) free(list[j]);
      free(list);
      return NULL;
    }
    i++;
  }
  return list;
}

static void free_list(char **list) {
  if (list == NULL) return;
  for (char **entry = list; *entry != NULL; entry++) free(*entry);
  free(list);
}

static void add_default(char **environment, const char *name, const char *value) {
  size_t length = strlen(name);
  char **entry = environment;
  for (; *entry != NULL; entry++)
    if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return;
  size_t size = length + strlen(value) + 2;
  *entry = malloc(size);
  if (*entry != NULL) snprintf(*entry, size, "%s=%s", name, value);
}

/* `name`, `uid` or either with `:group`, as in an OCI image's User. False when there is none such. */
static int find_user(struct setup *setup, char *text, char **environment) {
  char *group = strchr(text, ':');
  if (group != NULL) *group++ = 0;
  char *end;
  unsigned long number = strtoul(text, &end, 10);
  struct passwd *entry = *end == 0 && end != text ? getpwuid(number) : getpwnam(text);
  if (entry == NULL && (*end != 0 || end == text)) return 0;
  setup->uid = entry != NULL ? entry->pw_uid : number;
  setup->gid = entry != NULL ? entry->pw_gid : 0;
  if (entry != NULL) {
    setup->user = strdup(entry->pw_name);
    add_default(environment, "HOME", entry->pw_dir);
    add_default(environment, "USER", entry->pw_name);
    add_default(environment, "LOGNAME", entry->pw_name);
  }
  if (group != NULL && *group != 0) {
    number = strtoul(group, &end, 10);
    struct group *named = *end == 0 ? NULL : getgrnam(group);
    if (named == NULL && *end != 0) return 0;
    setup->gid = named != NULL ? named->gr_gid : number;
  }
  setup->drop = 1;
  return 1;
}

/* ---- Descriptors ---- */

static void close_all(int *fds, int count) {
  for (int i = 0; i < count; i++)
    if (fds[i] >= 0) close(fds[i]);
}

static void set_size(int fd, const struct request *request) {
  struct field field;
  if (!request_find(request, FIELD_SIZE, &field) || field.length != 4) return;
  struct winsize size = {.ws_row = field.bytes[0] | field.bytes[1] << 8,
                         .ws_col = field.bytes[2] | field.bytes[3] << 8};
  ioctl(fd, TIOCSWINSZ, &size);
}

/* ours: input, output, errors; theirs: 0, 1, 2. Unused ones are -1. */
static int open_terminal(int *ours, int *theirs, const struct request *request) {
  char name[64];
  int number;
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (master < 0) return -1;
  int zero = 0;
  if (ioctl(master, TIOCSPTLCK, &zero) < 0 || ioctl(master, TIOCGPTN, &number) < 0) goto failed;
  snprintf(name, sizeof name, "/dev/pts/%d", number);
  int terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) goto failed;
  set_size(master, request);
  ours[1] = master;
  ours[0] = fcntl(master, F_DUPFD_CLOEXEC, 3);
  theirs[0] = terminal;
  theirs[1] = fcntl(terminal, F_DUPFD_CLOEXEC, 3);
  theirs[2] = fcntl(terminal, F_DUPFD_CLOEXEC, 3);
  return ours[0] < 0 || theirs[1] < 0 || theirs[2] < 0 ? -1 : 0;
failed:;
  int error = errno;
  close(master);
  errno = error;
  return -1;
}

static int open_pipes(int *ours, int *theirs, int with_input) {
  int ends[2];
  if (with_input) {
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    theirs[0] = ends[0];
    ours[0] = ends[1];
  } else if ((theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
    return -1;
  }
  for (int i = 1; i < 3; i++) {
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    ours[i] = ends[0];
    theirs[i] = ends[1];
  }
  for (int i = 0; i < 3; i++)
    if (ours[i] >= 0) fcntl(ours[i], F_SETFL, O_NONBLOCK);
  return 0;
}

/* ---- A running command ---- */

static void unlink_command(struct command *command) {
  for (struct command **at = &commands; *at != NULL; at = &(*at)->next)
    if (*at == command) {
      *at = command->next;
      return;
    }
}

static void exec_close(struct connection *connection) {
  struct command *command = connection->state;
  if (command == NULL) return;
  connection->state = NULL;
  if (command->pid > 0) kill(-command->pid, SIGKILL);
  unlink_command(command);
  watch_remove(&command->input);
  watch_remove(&command->streams[0].watch);
  watch_remove(&command->streams[1].watch);
  buffer_free(&command->pending);
  free(command);
}

/* False when a terminal takes nothing now. */
static int end_input(struct command *command) {
  if (!command->terminal) {
    watch_remove(&command->input);
    return 1;
  }
  /* A terminal's end of file is a character of its line discipline (termios(3), VEOF). */
  struct termios settings;
  return tcgetattr(command->streams[0].watch.fd, &settings) < 0 || !(settings.c_lflag & ICANON) ||
         write(command->input.fd, &settings.c_cc[VEOF], 1) == 1 || errno != EAGAIN;
}

/* Gives the command its input; what it has taken the host may send again. */
static void feed(struct command *command) {
  size_t taken = 0;
  while (command->input.fd >= 0 && buffer_length(&command->pending) > 0) {
    ssize_t wrote = write(command->input.fd, command->pending.bytes + command->pending.start,
                          buffer_length(&command->pending));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) break;
    if (wrote < 0) {
      /* Nobody reads any more. */
      taken += buffer_length(&command->pending);
      buffer_free(&command->pending);
      watch_remove(&command->input);
      break;
    }
    buffer_take(&command->pending, wrote);
    taken += wrote;
  }
  if (command->input.fd < 0 && buffer_length(&command->pending) > 0) {
    taken += buffer_length(&command->pending);
    buffer_free(&command->pending);
  }
  if (taken > 0) {
    uint8_t number[4];
    put32(number, taken);
    connection_send(command->connection, REPLY_CREDIT, number, sizeof number);
  }
  if (command->input.fd < 0) return;
  int waits = buffer_length(&command->pending) > 0;
  if (!waits && command->input_ended == 1) {
    waits = !end_input(command);
    if (!waits) command->input_ended = 2;
  }
  watch_set(&command->input, waits ? EPOLLOUT : 0);
}

static void input_ready(struct watch *watch, uint32_t events) {
  struct command *command = watch->owner;
  if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT)) watch_remove(watch);
  feed(command);
}

/* Nothing more comes from this one: an empty frame says so. */
static void end_stream(struct stream *stream) {
  watch_remove(&stream->watch);
  connection_send(stream->command->connection, stream->type, "", 0);
}

/* Sends a piece of what there is; false when there is none, or no credit for it. */
static int pump(struct stream *stream) {
  static uint8_t bytes[CHUNK];
  struct command *command = stream->command;
  size_t room = stream->credit < sizeof bytes ? stream->credit : sizeof bytes;
  if (command->pid == 0 && (size_t)stream->left < room) room = stream->left;
  if (stream->watch.fd < 0 || room == 0) return 0;
  ssize_t got;
  while ((got = read(stream->watch.fd, bytes, room)) < 0 && errno == EINTR) continue;
  if (got > 0) {
    stream->credit -= got;
    if (command->pid == 0) stream->left -= got;
    connection_send(command->connection, stream->type, bytes, got);
    return 1;
  }
  if (got < 0 && errno == EAGAIN) {
    stream->left = 0;
    return 0;
  }
  /* A terminal whose last user has closed it reads EIO. */
  end_stream(stream);
  return 0;
}

static void want_output(struct command *command) {
  int full = connection_full(command->connection);
  for (int i = 0; i < 2; i++) {
    struct stream *stream = &command->streams[i];
    watch_set(&stream->watch, full || stream->credit == 0 || command->pid == 0 ? 0 : EPOLLIN);
  }
}

static void output_ready(struct watch *watch, uint32_t events) {
  (void)events;
  struct stream *stream = watch->owner;
  pump(stream);
  want_output(stream->command);
}

/* The command has ended: what it had written by then, then how it ended. */
static void finish(struct command *command) {
  struct connection *connection = command->connection;
  for (int i = 0; i < 2; i++) {
    struct stream *stream = &command->streams[i];
    while (!connection_full(connection) && pump(stream)) continue;
    if (stream->watch.fd >= 0 && stream->left <= 0) end_stream(stream);
  }
  if (command->streams[0].watch.fd >= 0 || command->streams[1].watch.fd >= 0) return;
  uint8_t how[8];
  int signalled = WIFSIGNALED(command->status);
  put32(how, signalled ? EXIT_SIGNAL : EXIT_STATUS);
  put32(how + 4, signalled ? WTERMSIG(command->status) : WEXITSTATUS(command->status));
  connection_send(connection, REPLY_EXIT, how, sizeof how);
  exec_close(connection);
  connection_finish(connection);
}

/* There is room or credit for more. */
static void go_on(struct command *command) {
  if (command->pid == 0) finish(command);
  else want_output(command);
}

static void exec_drained(struct connection *connection) {
  if (connection->state != NULL) go_on(connection->state);
}

static void ended(struct command *command, int status) {
  command->pid = 0;
  command->status = status;
  for (int i = 0; i < 2; i++) {
    struct stream *stream = &command->streams[i];
    stream->left = 0;
    if (stream->watch.fd < 0) continue;
    /* FIONREAD leaves out what is on its way to a terminal's line discipline; a read waits for that. */
    if (command->terminal) stream->left = TERMINAL_LEFT;
    else ioctl(stream->watch.fd, FIONREAD, &stream->left);
  }
  want_output(command);
  finish(command);
}

void exec_reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (struct command *command = commands; command != NULL; command = command->next)
      if (command->pid == pid) {
        ended(command, status);
        break;
      }
}

static int exec_input(struct connection *connection, uint8_t type, const uint8_t *payload,
                      size_t length) {
  struct command *command = connection->state;
  if (command == NULL) return 0;
  switch (type) {
    case INPUT_DATA:
      if (command->input_ended || buffer_length(&command->pending) + length > STDIN_CREDIT) return -1;
      if (buffer_append(&command->pending, payload, length) < 0) return -1;
      feed(command);
      return 0;
    case INPUT_END:
      if (command->input_ended == 0) command->input_ended = 1;
      feed(command);
      return 0;
    case INPUT_SIGNAL:
      if (length != 4) return -1;
      if (command->pid > 0) kill(-command->pid, get32(payload));
      return 0;
    case INPUT_CREDIT: {
      uint32_t which = length == 8 ? get32(payload) - 1 : 2;
      uint32_t bytes = length == 8 ? get32(payload + 4) : 0;
      if (which > 1 || bytes > OUTPUT_CREDIT - command->streams[which].credit) return -1;
      command->streams[which].credit += bytes;
      go_on(command);
      return 0;
    }
    case INPUT_RESIZE: {
      if (length != 4) return -1;
      struct winsize size = {.ws_row = payload[0] | payload[1] << 8,
                             .ws_col = payload[2] | payload[3] << 8};
      if (command->terminal) ioctl(command->streams[0].watch.fd, TIOCSWINSZ, &size);
      return 0;
    }
    default:
      return -1;
  }
}

static const struct service EXEC = {
    .input = exec_input, .drained = exec_drained, .close = exec_close};

/* Forks; the errno of what failed in the child before it was the command, or 0. */
static int spawn(struct command *command, struct setup *setup) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return errno;
  setup->report = report[1];
  pid_t pid = fork();
  if (pid == 0) become(setup);
  int error = pid < 0 ? errno : 0;
  close(report[1]);
  if (pid > 0) {
    int told;
    ssize_t got;
    while ((got = read(report[0], &told, sizeof told)) < 0 && errno == EINTR) continue;
    if (got == sizeof told) {
      error = told;
      waitpid(pid, NULL, 0);
    } else {
      command->pid = pid;
    }
  }
  close(report[0]);
  return error;
}

static int start(struct connection *connection, const struct request *request,
                 struct setup *setup, const char **what) {
  struct command *command = calloc(1, sizeof *command);
  if (command == NULL) return ENOMEM;
  command->connection = connection;
  command->input.fd = -1;
  for (int i = 0; i < 2; i++)
    command->streams[i] = (struct stream){.command = command,
                                          .watch = {.fd = -1},
                                          .type = i == 0 ? REPLY_STDOUT : REPLY_STDERR,
                                          .credit = OUTPUT_CREDIT};
  uint64_t flags = request_number(request, FIELD_FLAGS, 0);
  command->terminal = setup->terminal = (flags & EXEC_PTY) != 0;
  int ours[3] = {-1, -1, -1};
  int theirs[3] = {-1, -1, -1};
  *what = "pipes or terminal";
  int failed = command->terminal ? open_terminal(ours, theirs, request)
                                 : open_pipes(ours, theirs, (flags & EXEC_STDIN) != 0);
  int error = failed < 0 ? errno : 0;
  if (error == 0) {
    memcpy(setup->files, theirs, sizeof theirs);
    *what = setup->arguments[0];
    error = spawn(command, setup);
  }
  close_all(theirs, 3);
  if (error != 0) {
    close_all(ours, 3);
    free(command);
    return error;
  }
  connection->service = &EXEC;
  connection->state = command;
  command->next = commands;
  commands = command;
  uint8_t pid[4];
  put32(pid, command->pid);
  connection_send(connection, REPLY_OK, pid, sizeof pid);
  if (ours[0] >= 0) watch_add(&command->input, ours[0], 0, input_ready, command);
  for (int i = 0; i < 2; i++)
    if (ours[1 + i] >= 0)
      watch_add(&command->streams[i].watch, ours[1 + i], EPOLLIN, output_ready, &command->streams[i]);
  return 0;
}

void exec_start(struct connection *connection, const struct request *request) {
  struct setup setup = {0};
  setup.arguments = list_of(request, FIELD_ARGUMENT, 0);
  setup.environment = list_of(request, FIELD_ENVIRONMENT, 5);
  setup.directory = request_text(request, FIELD_DIRECTORY);
  char *user = request_text(request, FIELD_USER);
  const char *what = "the request";
  int error = 0;
  if (setup.arguments == NULL || setup.arguments[0] == NULL || setup.environment == NULL)
    error = EINVAL;
  else if (user != NULL && *user != 0 && !find_user(&setup, user, setup.environment)) {
    error = ENOENT;
    what = "the user";
  }
  if (error == 0) {
    add_default(setup.environment, "PATH", DEFAULT_PATH + 5);
    if (request_number(request, FIELD_FLAGS, 0) & EXEC_PTY)
      add_default(setup.environment, "TERM", "xterm-256color");
    error = start(connection, request, &setup, &what);
  }
  if (error != 0) connection_fail(connection, error, what);
  free_list(setup.arguments);
  free_list(setup.environment);
  free(setup.directory);
  free(setup.user);
  free(user);
}
