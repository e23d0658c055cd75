/*
 * plexus: the binary that a container runtime executes (CNI specification 1.1.0, section 2).
 *
 * It decides nothing. It carries the CNI_* environment, standard input and the name it was called under to the Plexus
 * daemon, and the daemon's answer to standard output and the exit status. Called under a plugin's name, through a link
 * such as /opt/cni/bin/ipvlan -> plexus, the daemon answers for that plugin alone.
 *
 *   request   "PLX1"  u32 bytes that follow
 *             u8 length, name | u16 count, count times: u32 length, "CNI_KEY=VALUE" | u32 length, standard input
 *   answer    "PLX1"  u32 bytes that follow
 *             u8 exit status, standard output
 *
 * Numbers are little-endian; a frame has at most 16 MiB, standard input at most 8 MiB. src/daemon/frame.ts is the other end.
 *
 * Where the daemon is, and how long it may take, in the order in which they count:
 *
 *   PLEXUS_SOCKET            "daemonSocketDir" or "socketDir" + "/plexus.sock"   /run/plexus/plexus.sock
 *   PLEXUS_SPOOL             "spoolDir"                                          /var/lib/plexus/spool
 *   PLEXUS_TIMEOUT_SECONDS   "timeoutSeconds": the whole call, from start to end                     60
 *   PLEXUS_CONNECT_SECONDS   "connectSeconds": how long a daemon may be away, as when it restarts     3
 *
 * The keys are those of the configuration's top level, and count only under the names plexus, multus and multus-shim:
 * then the node's administrator wrote it. Under a plugin's name it may come from a namespace's user, who must not choose
 * what root connects to. For the same reason an answer counts only from a daemon of root, or of the caller's own user.
 *
 * A DEL that no daemon answers is left in the spool directory, for the daemon to carry out, and succeeds: see spool.c.
 *
 * An ADD while no daemon listens goes on with the default network only where the administrator chose so: see alone.c.
 *
 * Every failure is a CNI error on standard output, in the configuration's cniVersion, and exit status 1:
 *
 *   4   a name or environment that does not fit a frame      5   standard input, or an answer that makes no sense
 *   7   a key above with a value that cannot be used        11   no daemon, or none that answers: try again later
 *
 * There is no heap: what is large is static, and the kernel gives it memory as it fills.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plexus.h"

#ifndef PLEXUS_VERSION
#define PLEXUS_VERSION "unknown"
#endif

enum { RETRY_MS = 20 };

static unsigned char request[MAX_FRAME];
static unsigned char answer[MAX_FRAME];

static struct call call;

static size_t put_number(size_t at, uint32_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		request[at + i] = (unsigned char)(value >> (8 * i));
	return at + bytes;
}

/* Puts the name and the environment, and returns where the length of standard input goes. */
static size_t put_head(const char *name)
{
	const size_t name_length = strlen(name);
	uint32_t count = 0;

	if (name_length > MAX_NAME)
		fail(INVALID_ENVIRONMENT, "", "called under a name of %zu bytes; at most %d fit", name_length, (int)MAX_NAME);
	memcpy(request, MAGIC, sizeof(MAGIC) - 1);
	size_t at = put_number(HEADER, (uint32_t)name_length, 1);

	memcpy(request + at, name, name_length);
	at += name_length;
	const size_t count_at = at;

	at += 2;
	for (char **variable = environ; *variable != NULL; variable++) {
		if (strncmp(*variable, "CNI_", 4) != 0)
			continue;
		const size_t length = strlen(*variable);

		if (count == UINT16_MAX || at + length > MAX_HEAD)
			fail(INVALID_ENVIRONMENT, "", "the CNI_* environment has more than %d variables or %d bytes",
			     (int)UINT16_MAX, (int)MAX_HEAD);
		at = put_number(at, (uint32_t)length, 4);
		memcpy(request + at, *variable, length);
		at += length;
		count++;
	}
	(void)put_number(count_at, count, 2);
	return at;
}

/* Reads all of standard input to where it belongs in the request. */
static struct span read_input(size_t at, int64_t deadline)
{
	size_t length = 0;

	for (;;) {
		if (!wait_for(STDIN_FILENO, POLLIN, deadline))
			fail(IO_FAILURE, "PLEXUS_TIMEOUT_SECONDS sets the time", "standard input did not end in %lld ms",
			     (long long)settings.timeout);
		/* One byte more than is allowed, to see whether there is more. */
		const ssize_t n = read(STDIN_FILENO, request + at + length, MAX_STDIN + 1 - length);

		if (n == 0)
			return (struct span){(const char *)request + at, length};
		if (n > 0)
			length += (size_t)n;
		else if (errno != EINTR && errno != EAGAIN)
			fail(IO_FAILURE, "", "read standard input: %s", strerror(errno));
		if (length > MAX_STDIN)
			fail(IO_FAILURE, "", "standard input has more than %d bytes", (int)MAX_STDIN);
	}
}

/* No daemon answers. Nobody may have to wait for one to get rid of a pod: a DEL is left for it, and succeeds. */
__attribute__((format(printf, 1, 2))) static _Noreturn void unanswered(const char *format, ...)
{
	char why[MAX_MESSAGE / 3];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	if (strcmp(call.command, "DEL") != 0)
		fail(TRY_AGAIN_LATER, REMEDY, "%s", why);
	const char *problem = leave_request(&call);

	if (problem != NULL)
		fail(TRY_AGAIN_LATER, REMEDY, "%s; and the DEL could not be left for it in %s: %s", why, settings.spool,
		     problem);
	exit(0);
}

/* No daemon listens, so none has begun anything: an ADD may go on without, where the administrator chose so. */
static _Noreturn void without_daemon(int64_t deadline)
{
	const int reason = errno;
	const char *problem = NULL;

	if (call.is_meta && strcmp(call.command, "ADD") == 0) {
		const int status = attach_alone(&call, deadline, &problem);

		if (status >= 0)
			exit(status);
	}
	if (problem != NULL)
		fail(TRY_AGAIN_LATER, REMEDY, "no Plexus daemon listens at %s: %s; and the default network alone cannot be attached: %s",
		     settings.socket, strerror(reason), problem);
	unanswered("no Plexus daemon listens at %s: %s", settings.socket, strerror(reason));
}

static _Noreturn void unanswered_in_time(const char *what)
{
	unanswered("the Plexus daemon at %s %s in %lld ms", settings.socket, what, (long long)settings.timeout);
}

/* A daemon that restarts is away for a moment: its socket is missing, or nobody accepts. */
static int connect_daemon(int64_t deadline, int64_t patience)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, settings.socket, sizeof(settings.socket));
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		fail(IO_FAILURE, "", "create a socket: %s", strerror(errno));
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		const bool away = errno == ENOENT || errno == ECONNREFUSED;
		const bool busy = errno == EAGAIN; /* more callers wait than the daemon's backlog holds */
		const int64_t time = now();

		if (errno == EINTR)
			continue;
		if (!away && !busy)
			fail(IO_FAILURE, REMEDY, "connect to the Plexus daemon at %s: %s", settings.socket, strerror(errno));
		if (away && time >= (patience < deadline ? patience : deadline))
			without_daemon(deadline);
		if (time >= deadline)
			unanswered_in_time("did not accept the call");
		(void)poll(NULL, 0, RETRY_MS);
	}
	return fd;
}

/* Others than root could only offer a socket where an administrator's mistake lets them; their answer is not believed. */
static void check_peer(int fd)
{
	struct ucred peer = {.uid = 0};
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		fail(IO_FAILURE, "", "ask who listens at %s: %s", settings.socket, strerror(errno));
	if (peer.uid != 0 && peer.uid != geteuid())
		fail(IO_FAILURE, "remove that socket, or correct PLEXUS_SOCKET or daemonSocketDir",
		     "expected the Plexus daemon of root at %s, found process %d of user %u", settings.socket, (int)peer.pid,
		     (unsigned int)peer.uid);
}

/* A daemon that hangs up before it has read all may have answered already: what it said is looked at next. */
static void send_request(int fd, size_t length, int64_t deadline)
{
	for (size_t sent = 0; sent < length;) {
		const ssize_t n = send(fd, request + sent, length - sent, MSG_NOSIGNAL);

		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EPIPE || errno == ECONNRESET)
			return;
		else if (errno == EAGAIN && !wait_for(fd, POLLOUT, deadline))
			unanswered_in_time("did not read the call");
		else if (errno != EAGAIN && errno != EINTR)
			fail(IO_FAILURE, REMEDY, "send to the Plexus daemon at %s: %s", settings.socket, strerror(errno));
	}
}

static void receive(int fd, size_t at, size_t length, int64_t deadline)
{
	for (size_t end = at + length; at < end;) {
		const ssize_t n = recv(fd, answer + at, end - at, 0);

		if (n > 0)
			at += (size_t)n;
		else if (n == 0 || errno == ECONNRESET)
			unanswered("the Plexus daemon at %s hung up after %zu bytes of its answer", settings.socket, at);
		else if (errno == EAGAIN && !wait_for(fd, POLLIN, deadline))
			unanswered_in_time("did not answer");
		else if (errno != EAGAIN && errno != EINTR)
			fail(IO_FAILURE, REMEDY, "read from the Plexus daemon at %s: %s", settings.socket, strerror(errno));
	}
}

/* Returns how many bytes follow the header. All of them are there before any is passed on. */
static size_t receive_answer(int fd, int64_t deadline)
{
	size_t length = 0;

	receive(fd, 0, HEADER, deadline);
	for (size_t i = 0; i < 4; i++)
		length |= (size_t)answer[4 + i] << (8 * i);
	if (memcmp(answer, MAGIC, sizeof(MAGIC) - 1) != 0 || length < 1 || length > MAX_FRAME - HEADER)
		fail(IO_FAILURE, "is it a Plexus daemon of another version?",
		     "expected an answer of 1 to %d bytes from the Plexus daemon at %s, found one that begins "
		     "%02x%02x%02x%02x %02x%02x%02x%02x",
		     (int)(MAX_FRAME - HEADER), settings.socket, answer[0], answer[1], answer[2], answer[3], answer[4],
		     answer[5], answer[6], answer[7]);
	receive(fd, HEADER, length, deadline);
	return length;
}

/* A descriptor that the caller closed would be given to the socket. Output that nobody can read must still fail. */
static void occupy_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

static const char *base_name(const char *path)
{
	const char *slash = path == NULL ? NULL : strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;

	return name == NULL || *name == '\0' ? "plexus" : name;
}

/* What plugins print for a person who calls them without CNI_COMMAND. */
static int print_about(const char *name)
{
	(void)dprintf(STDERR_FILENO,
		      "CNI plugin %s of Plexus " PLEXUS_VERSION ", answered by the daemon at %s\n"
		      "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n",
		      name, settings.socket);
	return 0;
}

static bool is_meta(const char *name)
{
	return strcmp(name, "plexus") == 0 || strcmp(name, "multus") == 0 || strcmp(name, "multus-shim") == 0;
}

int main(int argc, char **argv)
{
	const int64_t start = now();
	const char *const command = getenv("CNI_COMMAND");

	call.name = base_name(argc > 0 ? argv[0] : NULL);
	call.is_meta = is_meta(call.name);
	occupy_standard_descriptors();
	(void)signal(SIGPIPE, SIG_IGN);
	read_variables();
	if (command == NULL || *command == '\0')
		return print_about(call.name);
	call.command = command;

	const size_t input_at = put_head(call.name) + 4;

	/* A person who asks for the version types no configuration. */
	call.input = (struct span){(const char *)request + input_at, 0};
	if (strcmp(command, "VERSION") != 0 || isatty(STDIN_FILENO) == 0)
		call.input = read_input(input_at, start + settings.timeout);
	call.frame = (struct span){(const char *)request, input_at + call.input.length};
	(void)put_number(input_at - 4, (uint32_t)call.input.length, 4);
	(void)put_number(4, (uint32_t)(call.frame.length - HEADER), 4);
	read_configuration(&call);
	read_variables();

	const int64_t deadline = start + settings.timeout;
	const int fd = connect_daemon(deadline, now() + settings.connect);

	check_peer(fd);
	send_request(fd, call.frame.length, deadline);
	const size_t length = receive_answer(fd, deadline);

	/* A result that the runtime did not get is no success. */
	if (!write_all(STDOUT_FILENO, answer + HEADER + 1, length - 1))
		return 1;
	return answer[HEADER];
}
