/* What the parts of the CNI binary share: plexus.c says what it is for. */
#ifndef PLEXUS_H
#define PLEXUS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define MAGIC "PLX1"
#define REMEDY "start the Plexus daemon on this node, or see its log; `plexus doctor` says what the node lacks"

enum {
	HEADER = 8,
	MAX_FRAME = 16 << 20,
	MAX_STDIN = 8 << 20,
	/* Leaves room for the length of one more variable, that of standard input, and the byte too many that is refused. */
	MAX_HEAD = MAX_FRAME - MAX_STDIN - 16,
	MAX_NAME = 255,
	MAX_SECONDS = 86400,
	/* Of a CNI error's message. */
	MAX_MESSAGE = 1024
};

enum code {
	INVALID_ENVIRONMENT = 4,
	IO_FAILURE = 5,
	INVALID_CONFIG = 7,
	TRY_AGAIN_LATER = 11,
	INTERNAL = 999
};

struct span {
	const char *at;
	size_t length;
};

struct settings {
	char cni_version[16];
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char spool[200];
	/* Milliseconds. */
	int64_t timeout;
	int64_t connect;
};

/* What the runtime asks for. */
struct call {
	/* The name that this was called under, and whether it is one of the meta-plugin's. */
	const char *name;
	bool is_meta;
	const char *command;
	/* Standard input. */
	struct span input;
	/* The whole frame of the request. */
	struct span frame;
};

extern struct settings settings;

/* report.c */
bool write_all(int fd, const void *bytes, size_t length);
__attribute__((format(printf, 3, 4))) _Noreturn void fail(enum code code, const char *details, const char *format, ...);

/* settings.c */
bool equals(struct span token, const char *text);
struct span find(struct span json, const char *quoted);
struct span whole(struct span json, struct span token);
void read_configuration(const struct call *call);
void read_variables(void);

/*
 * spool.c. What returns text says by it what went wrong, and by NULL that nothing did.
 */

/* Leaves a request for the daemon to carry out. All of it is on the disk then. */
const char *leave_request(const struct call *call);
/* Opens the directory, which must be ours alone. */
const char *open_spool(bool make, int *directory);
/* Writes CONTAINERID:IFNAME, of the environment, which only has what can be in a file's name. */
const char *name_sandbox(char name[NAME_MAX + 1]);
/* Whether anything waits there for a sandbox. */
const char *look_through(int directory, const char *sandbox, bool *waits);
/*
 * Writes a file of these parts under a temporary name, and gives it its own once it is on the disk. Where `kept` is not NULL,
 * it stays open there, and locked.
 */
const char *write_synced(int directory, const char *name, const struct span *parts, size_t count, int *kept);
/* Puts the reason of errno behind what was to be done. */
const char *problem_of(const char *what);

/*
 * alone.c. Carries out an ADD without a daemon. Returns the exit status; below 0 when nothing was done: `problem` says why
 * not, and is NULL where the administrator did not choose this.
 */
int attach_alone(const struct call *call, int64_t deadline, const char **problem);

/* clock.c */
int64_t now(void);
bool wait_for(int fd, short events, int64_t deadline);
void step(void);

#endif
