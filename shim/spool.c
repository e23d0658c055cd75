/*
 * The spool: a directory in which requests wait for a daemon that is down. src/daemon/spool is the other end.
 *
 * A DEL is left there as the frame that the daemon did not take, in a file that is there as a whole or not at all, also
 * after a power cut. Its name tells whose it is, and a repeated DEL takes the place of the one before:
 *
 *   PLUGIN:CONTAINERID:IFNAME:HASH     HASH is that of standard input, 16 hexadecimal digits
 *
 * alone.c has the other file that waits there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plexus.h"

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

enum {
	/* A node has a few hundred pods, and their requests a few KB: beyond this something else is wrong. */
	MAX_WAITING = 4096,
	MAX_REQUEST = 1 << 20,
	MAX_ID = 200,
	MAX_INTERFACE = 15
};

const char *problem_of(const char *what)
{
	static char text[MAX_MESSAGE / 2];

	(void)snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	return text;
}

/* Container IDs as the specification has them; our own names are no other. */
static bool is_identifier(const char *text)
{
	return *text != '\0' && strchr(ALPHANUMERIC, *text) != NULL && strlen(text) <= MAX_ID &&
	       text[strspn(text, ALPHANUMERIC "_.-")] == '\0';
}

/* The daemon's rules for an interface's name, less what is not ASCII. */
static bool is_interface(const char *text)
{
	for (const char *c = text; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == '/' || *c == ':')
			return false;
	}
	return *text != '\0' && strlen(text) <= MAX_INTERFACE && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value == NULL ? "" : value;
}

const char *name_sandbox(char name[NAME_MAX + 1])
{
	const char *const id = variable("CNI_CONTAINERID");
	const char *const interface = variable("CNI_IFNAME");

	if (!is_identifier(id))
		return "CNI_CONTAINERID is missing, or has characters that no container ID has";
	if (!is_interface(interface))
		return "CNI_IFNAME is missing, or has characters other than ASCII's";
	(void)snprintf(name, NAME_MAX + 1, "%s:%s", id, interface);
	return NULL;
}

/* FNV-1a: it keeps different requests apart, and need not keep out anybody, for only root comes here. */
static uint64_t hash(struct span text)
{
	uint64_t value = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < text.length; i++)
		value = (value ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
	return value;
}

/*
 * Makes a directory and, where that is missing, the one that it is in; both synced, so that a power cut leaves them.
 */
static bool make_directory(const char *path, bool with_parent)
{
	char parent[sizeof(settings.spool)] = "/";
	const char *const slash = strrchr(path, '/');

	if (slash != NULL && slash != path) {
		(void)strcpy(parent, path);
		parent[slash - path] = '\0';
	}
	if (mkdir(path, 0700) != 0) {
		if (errno == EEXIST)
			return true;
		if (errno != ENOENT || !with_parent || !make_directory(parent, false))
			return false;
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return false;
	}
	const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const bool synced = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		(void)close(fd);
	return synced;
}

const char *open_spool(bool make, int *directory)
{
	struct stat about;

	if (make && !make_directory(settings.spool, true))
		return problem_of("make the directory");
	*directory = open(settings.spool, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*directory < 0)
		return problem_of("open the directory");
	if (fstat(*directory, &about) != 0)
		return problem_of("look at the directory");
	if (about.st_uid != geteuid() || (about.st_mode & 022) != 0)
		return "the directory belongs to another user, or others may write to it";
	return NULL;
}

const char *look_through(int directory, const char *sandbox, bool *waits)
{
	static union {
		struct dirent64 aligned;
		char bytes[32768];
	} entries;
	const size_t length = strlen(sandbox);
	const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t count = 0;
	ssize_t n;

	*waits = false;
	if (fd < 0)
		return problem_of("open the directory");
	while ((n = getdents64(fd, &entries, sizeof(entries))) > 0) {
		size_t at = 0;

		while (at < (size_t)n) {
			const struct dirent64 *entry = (const void *)(entries.bytes + at);
			const char *colon = strchr(entry->d_name, ':');

			*waits = *waits || (colon != NULL && strncmp(colon + 1, sandbox, length) == 0 && colon[1 + length] == ':');
			at += entry->d_reclen;
			count++;
		}
	}
	(void)close(fd);
	if (n < 0)
		return problem_of("read the directory");
	return count >= MAX_WAITING ? "too many requests wait there already" : NULL;
}

const char *write_synced(int directory, const char *name, const struct span *parts, size_t count, int *kept)
{
	char temporary[64];
	const char *problem = NULL;

	(void)snprintf(temporary, sizeof(temporary), ".unfinished-%ld-%lld", (long)getpid(), (long long)now());
	const int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return problem_of("make a file");
	step();
	for (size_t i = 0; i < count && problem == NULL; i++) {
		if (!write_all(fd, parts[i].at, parts[i].length))
			problem = problem_of("write");
	}
	step();
	if (problem == NULL && fsync(fd) != 0)
		problem = problem_of("write to the disk");
	if (problem == NULL && kept != NULL && flock(fd, LOCK_EX | LOCK_NB) != 0)
		problem = problem_of("lock a file");
	if (problem == NULL && kept != NULL)
		*kept = fd;
	else if (close(fd) != 0 && problem == NULL)
		problem = problem_of("write to the disk");
	step();
	if (problem == NULL && renameat(directory, temporary, directory, name) != 0)
		problem = problem_of("rename a file");
	step();
	if (problem != NULL)
		(void)unlinkat(directory, temporary, 0);
	else if (fsync(directory) != 0)
		problem = problem_of("write the directory to the disk");
	step();
	return problem;
}

const char *leave_request(const struct call *call)
{
	char sandbox[NAME_MAX + 1];
	char name[2 * NAME_MAX];
	int directory = -1;
	bool waits;
	const char *problem = name_sandbox(sandbox);

	if (problem != NULL)
		return problem;
	if (!is_identifier(call->name))
		return "the name that this was called under has characters that no plugin's has";
	if (call->frame.length > MAX_REQUEST)
		return "the request has more than 1 MiB";
	const int length = snprintf(name, sizeof(name), "%s:%s:%016" PRIx64, call->name, sandbox, hash(call->input));

	if (length > NAME_MAX)
		return "CNI_CONTAINERID is too long";
	/* Without the administrator's configuration, only a directory that the daemon made is known to be its own. */
	problem = open_spool(call->is_meta, &directory);
	if (problem == NULL)
		problem = look_through(directory, sandbox, &waits);
	if (problem == NULL)
		problem = write_synced(directory, name, &call->frame, 1, NULL);
	if (directory >= 0)
		(void)close(directory);
	return problem;
}
