/* Folders made with their parents, and removed with what is in them; symbolic links are not followed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* As `mkdir -p`. */
int make_directories(const char *path, mode_t mode) {
  char *copy = strdup(path);
  if (copy == NULL) return -1;
  int failed = 0;
  for (char *slash = copy + 1; !failed && *copy != 0; slash++) {
    if (*slash != '/' && *slash != 0) continue;
    int last = *slash == 0;
    *slash = 0;
    struct stat st;
    if (mkdir(copy, mode) < 0 &&
        (errno != EEXIST || stat(copy, &st) < 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)))) {
      failed = errno;
    }
    if (last) break;
    *slash = '/';
  }
  free(copy);
  errno = failed;
  return failed ? -1 : 0;
}

static int remove_below(int directory) {
  DIR *list = fdopendir(directory);
  if (list == NULL) {
    close(directory);
    return -1;
  }
  int failed = 0;
  for (struct dirent *entry; !failed && (entry = readdir(list)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (unlinkat(dirfd(list), name, 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) {
      failed = errno;
      break;
    }
    int below = openat(dirfd(list), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0 || remove_below(below) < 0 || unlinkat(dirfd(list), name, AT_REMOVEDIR) < 0)
      failed = errno;
  }
  closedir(list);
  errno = failed;
  return failed ? -1 : 0;
}

/* As `rm -r`. */
int remove_tree(const char *path) {
  if (unlink(path) == 0) return 0;
  if (errno != EISDIR && errno != EPERM) return -1;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || remove_below(fd) < 0) return -1;
  return rmdir(path);
}
