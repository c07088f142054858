/* Preloaded: a directory whose locks fail, as on NFS without its lock manager. See file_systems.ts. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char directory[4096];

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("HOTBOOT_TEST_NO_LOCKS");
  if (name) snprintf(directory, sizeof directory, "%s/", name);
  unsetenv("LD_PRELOAD"); /* Deno starts no program that gets it */
  unsetenv("HOTBOOT_TEST_NO_LOCKS");
}

/* flock(2) */
int flock(int file, int operation) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  if (!directory[0] || strncmp(path, directory, strlen(directory)) != 0) return (int)syscall(SYS_flock, file, operation);
  errno = ENOLCK;
  return -1;
}
