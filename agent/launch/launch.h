/* Parts of pando-launch, the first process of a guest with a root file system (docs/rootfs.md). */
#ifndef PANDO_LAUNCH_H
#define PANDO_LAUNCH_H

#include <stddef.h>

/* Says what failed on the console, with errno's text, and powers the guest off with status 125. */
_Noreturn void fail(const char *what);

/* Reads a file of at most `size` - 1 bytes and ends it with a zero; -1 where it cannot be read. */
long read_text(const char *path, char *text, size_t size);

/* Loads the drivers of all devices that there are by now; modules.c. */
void load_drivers(void);
/* Loads a module with what it depends on; one that the kernel has built in or has not is left out. */
void load_module(const char *name);

/* What the host wants to be run; config.c. All lists end with NULL. */
struct config {
  char **arguments;
  char **environment;
  const char *user;
  const char *directory;
  int terminal;
  /* The overlay's upper directory is shown at CHANGES. */
  int changes;
  /* UUID of the ext4 that is the overlay's upper file system, 32 digits; empty for a tmpfs. */
  const char *upper;
};

/* Reads it from behind the file system of a device; 0 where the device has no such file system. */
int read_config(const char *device, struct config *config);

/* Sets the guest's network up, if it has one, and says on the console what it does not get; network.c. */
void connect_network(void);

/* In the child: becomes the user, goes to the directory, becomes the program; user.c. */
_Noreturn void run_program(struct config *config);

#endif
