/* Preloaded into a process that uses a store: delays syncs, makes one of them fail, and reports
 * every sync and write of a segment.
 *
 * SYNC_HOOK_LOG    file to which one line per event is appended. The kernel orders the lines of
 *                  all threads and of the process itself, which appends its own.
 * SYNC_HOOK_ARM    file; once it exists, syncs are counted and the fault can happen
 * SYNC_HOOK_FAULT  `segment`, `end` or `directory`
 * SYNC_HOOK_NTH    which of these fails, from 1 on
 *
 * b <id> <kind> <dev>:<ino>   a sync begins; kind: s segment, d directory, o other
 * e <id> <result>             it ended: 0, or -1 for the fault
 * p <kind> <dev>:<ino>        a write ended
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a sync takes longer, in microseconds, so that others come meanwhile. */
#define SHORT 300
#define LONG 3000
/* So many files are kept in mind at most. */
#define FILES 4096

static struct file {
    dev_t dev;
    ino_t ino;
    int syncing; /* syncs that run */
    int ended;   /* was truncated, and not written to or synced since */
} files[FILES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1, armed, failed, nth;
static long syncs, counted;
static const char *fault, *arm;
static int (*real_fdatasync)(int), (*real_fsync)(int), (*real_ftruncate)(int, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

__attribute__((constructor)) static void begin(void) {
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_ftruncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    const char *log = getenv("SYNC_HOOK_LOG"), *number = getenv("SYNC_HOOK_NTH");
    fault = getenv("SYNC_HOOK_FAULT");
    arm = getenv("SYNC_HOOK_ARM");
    nth = number ? atoi(number) : 0;
    if (log && fault && arm)
        log_fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void say(const char *line, int len) {
    if (write(log_fd, line, (size_t)len) != len)
        abort();
}

/* Under the lock: what is known of an open file. */
static struct file *look(int fd, char *kind) {
    struct stat found;
    if (fstat(fd, &found) != 0)
        abort();
    *kind = S_ISDIR(found.st_mode) ? 'd' : 'o';
    if (S_ISREG(found.st_mode)) {
        char link[64], name[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, name, sizeof name);
        if (len > 4 && memcmp(name + len - 4, ".wal", 4) == 0)
            *kind = 's';
    }
    for (struct file *file = files; file < files + FILES; file++) {
        if (file->ino == 0) {
            file->dev = found.st_dev;
            file->ino = found.st_ino;
        }
        if (file->dev == found.st_dev && file->ino == found.st_ino)
            return file;
    }
    abort();
}

/* Under the lock: whether this sync fails, one of its file's that run. */
static int fails(const struct file *file, char kind) {
    if (!armed)
        armed = access(arm, F_OK) == 0;
    if (!armed || failed)
        return 0;
    if (strcmp(fault, "segment") == 0)
        return kind == 's' && ++counted == nth;
    if (strcmp(fault, "directory") == 0)
        return kind == 'd' && ++counted == nth;
    /* The sync that ends a segment, if another of the same file runs: the kernel tells an error of
     * writing to one of them. If none ever runs beside it, it fails all the same. */
    if (kind != 's' || !file->ended || ++counted < nth)
        return 0;
    return file->syncing > 0 || counted >= nth + 3;
}

static int sync_with(int fd, int (*real)(int)) {
    if (log_fd < 0)
        return real(fd);
    char line[128], kind;
    pthread_mutex_lock(&lock);
    struct file *file = look(fd, &kind);
    long id = ++syncs;
    int len = snprintf(line, sizeof line, "b %ld %c %lu:%lu\n", id, kind,
                       (unsigned long)file->dev, (unsigned long)file->ino);
    say(line, len);
    int fail = fails(file, kind), beside = file->syncing++ > 0;
    file->ended = 0;
    failed |= fail;
    pthread_mutex_unlock(&lock);

    /* A sync beside which another one fails must end after it. */
    int slow = strcmp(fault, "end") == 0 && kind == 's' && !beside;
    int result = 0;
    if (!(fail && beside)) {
        usleep(slow ? LONG : SHORT);
        result = real(fd);
    }
    if (result != 0)
        abort(); /* the disk itself failed: nothing can be said of this run */

    pthread_mutex_lock(&lock);
    file->syncing--;
    len = snprintf(line, sizeof line, "e %ld %d\n", id, fail ? -1 : 0);
    say(line, len);
    pthread_mutex_unlock(&lock);
    if (fail) {
        errno = EIO;
        return -1;
    }
    return 0;
}

int fdatasync(int fd) { return sync_with(fd, real_fdatasync); }

int fsync(int fd) { return sync_with(fd, real_fsync); }

static int truncate_with(int fd, off_t length) {
    int result = real_ftruncate(fd, length);
    if (log_fd >= 0 && result == 0) {
        char kind;
        pthread_mutex_lock(&lock);
        look(fd, &kind)->ended = 1;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int ftruncate64(int fd, off_t length) { return truncate_with(fd, length); }

int ftruncate(int fd, off_t length) { return truncate_with(fd, length); }

static ssize_t write_with(int fd, const void *bytes, size_t len, off_t at) {
    ssize_t result = real_pwrite(fd, bytes, len, at);
    if (log_fd >= 0 && result >= 0) {
        char line[128], kind;
        pthread_mutex_lock(&lock);
        struct file *file = look(fd, &kind);
        file->ended = 0;
        int said = snprintf(line, sizeof line, "p %c %lu:%lu\n", kind, (unsigned long)file->dev,
                            (unsigned long)file->ino);
        say(line, said);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) {
    return write_with(fd, bytes, len, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return write_with(fd, bytes, len, at);
}
