/*
 * Gives a program another clock than the host's: LD_PRELOAD has this library, HOTBOOT_TEST_CLOCK the path of the clock's file.
 *
 * The file tells by how much the clock was stepped, and when. The program sees each step at once, also while it works. The times
 * of files are what the stepped clock said when they were written. The monotonic clock stays as it is.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define MOST_STEPS 4095
#define LONGEST_WAIT (SECOND / 100)

/* From a time of the host's clock on, this one is ahead by an offset; both in nanoseconds. The last step is written first. */
struct history {
  int64_t count;
  int64_t unused;
  struct { int64_t from, ahead; } steps[MOST_STEPS];
};

static const volatile struct history *history;
static int (*host_time)(clockid_t, struct timespec *);

static int64_t host_now(void) {
  struct timespec now;
  if (host_time) host_time(CLOCK_REALTIME, &now);
  else syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

/* How far this clock was ahead at a time of the host's. */
static int64_t ahead_at(int64_t time) {
  if (!history) return 0;
  for (int64_t at = history->count - 1; at >= 0; at--) {
    if (history->steps[at].from <= time) return history->steps[at].ahead;
  }
  return 0;
}

static int64_t ahead(void) {
  return history && history->count > 0 ? history->steps[history->count - 1].ahead : 0;
}

static void move(int64_t ahead, int64_t *seconds, int64_t *nanoseconds) {
  int64_t time = *seconds * SECOND + *nanoseconds + ahead;
  *seconds = time / SECOND;
  *nanoseconds = time % SECOND;
  if (*nanoseconds < 0) *seconds -= 1, *nanoseconds += SECOND;
}

static void moved(struct timespec *time, int64_t ahead) {
  int64_t seconds = time->tv_sec, nanoseconds = time->tv_nsec;
  move(ahead, &seconds, &nanoseconds);
  time->tv_sec = seconds, time->tv_nsec = nanoseconds;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("HOTBOOT_TEST_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  host_time = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  if (file >= 0) {
    void *map = mmap(NULL, sizeof(struct history), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) history = map;
  }
  unsetenv("LD_PRELOAD"); /* what the program starts has the host's clock; and Deno starts nothing with it */
  unsetenv("HOTBOOT_TEST_CLOCK");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int code = host_time ? host_time(clock, time) : (int)syscall(SYS_clock_gettime, clock, time);
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) moved(time, ahead());
  return code;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  int64_t now = host_now() + ahead();
  (void)zone;
  time->tv_sec = now / SECOND;
  time->tv_usec = now % SECOND / 1000;
  return 0;
}

time_t time(time_t *result) {
  time_t now = (host_now() + ahead()) / SECOND;
  if (result) *result = now;
  return now;
}

/* QEMU waits until a time of this clock. Waking early is allowed, so a step is noticed that early, as the kernel would. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, const struct timespec *restrict end) {
  if (cond->__data.__wrefs & 2) return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, end);
  int64_t left = end->tv_sec * SECOND + end->tv_nsec - host_now() - ahead();
  if (left <= 0) left = 0;
  int isLast = left <= LONGEST_WAIT;
  struct timespec until;
  host_time(CLOCK_REALTIME, &until);
  moved(&until, isLast ? left : LONGEST_WAIT);
  int code = pthread_cond_clockwait(cond, mutex, CLOCK_REALTIME, &until);
  return code == ETIMEDOUT && !isLast ? 0 : code;
}

static void move_file_time(struct statx_timestamp *time) {
  int64_t seconds = time->tv_sec, nanoseconds = time->tv_nsec;
  move(ahead_at(seconds * SECOND + nanoseconds), &seconds, &nanoseconds);
  time->tv_sec = seconds, time->tv_nsec = nanoseconds;
}

/* All that Rust's standard library asks. */
int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict result) {
  int code = syscall(SYS_statx, directory, path, flags, mask, result);
  if (code == 0) {
    move_file_time(&result->stx_mtime), move_file_time(&result->stx_ctime);
    move_file_time(&result->stx_atime), move_file_time(&result->stx_btime);
  }
  return code;
}

int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
  struct timespec own[2];
  if (!times) return syscall(SYS_utimensat, directory, path, NULL, flags);
  for (int i = 0; i < 2; i++) {
    own[i] = times[i];
    if (own[i].tv_nsec != UTIME_NOW && own[i].tv_nsec != UTIME_OMIT) moved(&own[i], -ahead());
  }
  return syscall(SYS_utimensat, directory, path, own, flags);
}
