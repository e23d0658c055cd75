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
 *   PLEXUS_TIMEOUT_SECONDS   "timeoutSeconds": the whole call, from start to end                     60
 *   PLEXUS_CONNECT_SECONDS   "connectSeconds": how long a daemon may be away, as when it restarts     3
 *
 * The keys are those of the configuration's top level, and count only under the names plexus, multus and multus-shim:
 * then the node's administrator wrote it. Under a plugin's name it may come from a namespace's user, who must not choose
 * what root connects to. For the same reason an answer counts only from a daemon of root, or of the caller's own user.
 *
 * Every failure is a CNI error on standard output, in the configuration's cniVersion, and exit status 1:
 *
 *   4   a name or environment that does not fit a frame      5   standard input, or an answer that makes no sense
 *   7   a key above with a value that cannot be used        11   no daemon, or none that answers: try again later
 *
 * There is no heap: both frames are static, and the kernel gives them memory as they fill.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef PLEXUS_VERSION
#define PLEXUS_VERSION "unknown"
#endif

#define MAGIC "PLX1"
#define SOCKET_NAME "/plexus.sock"
#define REMEDY "start the Plexus daemon on this node, or see its log; `plexus doctor` says what the node lacks"

enum {
	HEADER = 8,
	MAX_FRAME = 16 << 20,
	MAX_STDIN = 8 << 20,
	/* Leaves room for the length of one more variable, that of standard input, and the byte too many that is refused. */
	MAX_HEAD = MAX_FRAME - MAX_STDIN - 16,
	MAX_NAME = 255,
	MAX_SECONDS = 86400,
	RETRY_MS = 20
};

enum code { INVALID_ENVIRONMENT = 4, IO_FAILURE = 5, INVALID_CONFIG = 7, TRY_AGAIN_LATER = 11 };

struct span {
	const char *at;
	size_t length;
};

static unsigned char request[MAX_FRAME];
static unsigned char answer[MAX_FRAME];

static struct {
	/* What a configuration without one is written in, as the specification says. */
	char cni_version[16];
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int64_t timeout;
	int64_t connect;
} settings = {"0.1.0", "/run/plexus" SOCKET_NAME, 60000, 3000};

/* Whether all of it was written. The runtime reads at its own pace, so there is no time limit. */
static bool write_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		const ssize_t n = write(fd, at, length);

		if (n >= 0) {
			at += n;
			length -= (size_t)n;
		} else if (errno == EAGAIN) {
			(void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

/* Writes text as the inside of a JSON string, and returns where it ended. `to` has room for 6 bytes for each of `text`. */
static char *escape(char *to, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text != '\0'; text++) {
		const unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c <= '~') {
			if (c == '"' || c == '\\')
				*to++ = '\\';
			*to++ = (char)c;
		} else {
			to = stpcpy(to, "\\u00");
			*to++ = hex[c >> 4];
			*to++ = hex[c & 15];
		}
	}
	*to = '\0';
	return to;
}

/* Answers with a CNI error (specification 1.1.0, section "Error") and ends. */
__attribute__((format(printf, 3, 4))) static _Noreturn void fail(enum code code, const char *details, const char *format,
								  ...)
{
	char message[1024];
	char escaped[6 * sizeof(message)];
	char escaped_details[6 * 256];
	char json[sizeof(escaped) + sizeof(escaped_details) + 128];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	(void)escape(escaped, message);
	(void)snprintf(message, 256, "%s", details);
	(void)escape(escaped_details, message);
	const int length = snprintf(json, sizeof(json),
				    "{\n    \"cniVersion\": \"%s\",\n    \"code\": %d,\n    \"msg\": \"%s\",\n"
				    "    \"details\": \"%s\"\n}\n",
				    settings.cni_version, (int)code, escaped, escaped_details);

	(void)write_all(STDOUT_FILENO, json, (size_t)length);
	exit(1);
}

static int64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Waits until the descriptor is ready, has an error or was hung up on. False: the deadline passed. */
static bool wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd watched = {.fd = fd, .events = events};
		const int64_t left = deadline - now();
		const int n = poll(&watched, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return true;
		if (n == 0 && left <= 0)
			return false;
	}
}

/* Reads "60" or "0.25" as milliseconds. False: it is not that, or more than a day. */
static bool parse_seconds(struct span text, int64_t *milliseconds)
{
	int64_t value = 0;
	int64_t unit = 0; /* of the next decimal place; 0 before the point */

	if (text.length == 0 || text.at[0] == '.')
		return false;
	for (size_t i = 0; i < text.length; i++) {
		const char c = text.at[i];

		if (c == '.' && unit == 0) {
			unit = 100;
		} else if (c < '0' || c > '9') {
			return false;
		} else if (unit > 0) {
			value += (c - '0') * unit;
			unit = unit > 1 ? unit / 10 : -1;
		} else if (unit == 0) {
			value = value * 10 + (c - '0') * 1000;
		}
		if (value > MAX_SECONDS * INT64_C(1000))
			return false;
	}
	*milliseconds = value;
	return true;
}

static size_t string_end(struct span json, size_t quote)
{
	size_t i = quote + 1;

	while (i < json.length && json.at[i] != '"')
		i += json.at[i] == '\\' ? 2 : 1;
	return i < json.length ? i : json.length - 1;
}

static bool equals(struct span token, const char *text)
{
	return token.length == strlen(text) && memcmp(token.at, text, token.length) == 0;
}

static bool ends_scalar(char c)
{
	return strchr(",}] \t\r\n", c) != NULL;
}

/*
 * Finds the value of a key at the top level of a JSON object, the last one where there are several, as JSON readers do.
 * A string comes with its quotes and its escapes as they are, an object or array as its first character. This is no
 * parser: it keeps apart strings and depths, and leaves it to the daemon to refuse what is not JSON.
 *
 * @param quoted The key in its quotes.
 * @return Length 0: the key is not there.
 */
static struct span find(struct span json, const char *quoted)
{
	struct span found = {NULL, 0};
	size_t depth = 0;
	bool matched = false;
	bool in_value = false;

	for (size_t i = 0; i < json.length; i++) {
		const char c = json.at[i];
		struct span token = {json.at + i, 1};

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (depth == 1 && (c == ':' || c == ',')) {
			in_value = c == ':';
			continue;
		}
		if (c == '"') {
			const size_t end = string_end(json, i);

			token.length = end - i + 1;
			i = end;
			if (depth == 1 && !in_value)
				matched = equals(token, quoted);
		} else if (depth == 1 && in_value && !ends_scalar(c)) {
			while (token.length < json.length - i && !ends_scalar(token.at[token.length]))
				token.length++;
			if (c == '{' || c == '[')
				token.length = 1;
			else
				i += token.length - 1;
		}
		if (depth == 1 && in_value && matched) {
			found = token;
			matched = false;
		}
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth > 0)
			depth--;
	}
	return found;
}

static void read_version(struct span json)
{
	const struct span token = find(json, "\"cniVersion\"");

	if (token.length < 3 || token.length - 2 >= sizeof(settings.cni_version) || token.at[0] != '"')
		return;
	for (size_t i = 1; i < token.length - 1; i++) {
		if (strchr("0123456789.", token.at[i]) == NULL || token.at[i] == '\0')
			return;
	}
	memcpy(settings.cni_version, token.at + 1, token.length - 2);
	settings.cni_version[token.length - 2] = '\0';
}

static void read_directory(struct span json, const char *quoted)
{
	const struct span token = find(json, quoted);
	bool usable = token.length > 2 && token.length - 2 + sizeof(SOCKET_NAME) <= sizeof(settings.socket);

	if (token.length == 0 || equals(token, "\"\""))
		return;
	usable = usable && token.at[0] == '"' && token.at[1] == '/' && memchr(token.at, '\\', token.length) == NULL &&
		 memchr(token.at, '\0', token.length) == NULL;
	if (!usable)
		fail(INVALID_CONFIG, "", "standard input, %s: expected an absolute path of at most %zu bytes, without escapes",
		     quoted, sizeof(settings.socket) - sizeof(SOCKET_NAME));
	memcpy(settings.socket, token.at + 1, token.length - 2);
	memcpy(settings.socket + token.length - 2, SOCKET_NAME, sizeof(SOCKET_NAME));
}

static void read_seconds(struct span json, const char *quoted, int64_t *milliseconds)
{
	const struct span token = find(json, quoted);

	if (token.length > 0 && !parse_seconds(token, milliseconds))
		fail(INVALID_CONFIG, "", "standard input, %s: expected seconds, 0 to %d", quoted, (int)MAX_SECONDS);
}

static void read_configuration(struct span json, const char *name)
{
	read_version(json);
	if (strcmp(name, "plexus") != 0 && strcmp(name, "multus") != 0 && strcmp(name, "multus-shim") != 0)
		return;
	read_directory(json, "\"socketDir\"");
	read_directory(json, "\"daemonSocketDir\"");
	read_seconds(json, "\"timeoutSeconds\"", &settings.timeout);
	read_seconds(json, "\"connectSeconds\"", &settings.connect);
}

static void read_seconds_variable(const char *name, int64_t *milliseconds)
{
	const char *text = getenv(name);

	if (text != NULL && *text != '\0' && !parse_seconds((struct span){text, strlen(text)}, milliseconds))
		fail(INVALID_ENVIRONMENT, "", "%s: expected seconds, 0 to %d, found \"%.64s\"", name, (int)MAX_SECONDS, text);
}

static void read_variables(void)
{
	const char *path = getenv("PLEXUS_SOCKET");

	if (path != NULL && *path != '\0') {
		if (strlen(path) >= sizeof(settings.socket))
			fail(INVALID_ENVIRONMENT, "", "PLEXUS_SOCKET: expected a path of at most %zu bytes, found %zu",
			     sizeof(settings.socket) - 1, strlen(path));
		(void)strcpy(settings.socket, path);
	}
	read_seconds_variable("PLEXUS_TIMEOUT_SECONDS", &settings.timeout);
	read_seconds_variable("PLEXUS_CONNECT_SECONDS", &settings.connect);
}

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

static _Noreturn void fail_silent(const char *what)
{
	fail(TRY_AGAIN_LATER, REMEDY, "the Plexus daemon at %s %s in %lld ms", settings.socket, what,
	     (long long)settings.timeout);
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
			fail(TRY_AGAIN_LATER, REMEDY, "no Plexus daemon listens at %s: %s", settings.socket, strerror(errno));
		if (time >= deadline)
			fail_silent("did not accept the call");
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
			fail_silent("did not read the call");
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
			fail(TRY_AGAIN_LATER, REMEDY, "the Plexus daemon at %s hung up after %zu bytes of its answer",
			     settings.socket, at);
		else if (errno == EAGAIN && !wait_for(fd, POLLIN, deadline))
			fail_silent("did not answer");
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

int main(int argc, char **argv)
{
	const int64_t start = now();
	const char *const name = base_name(argc > 0 ? argv[0] : NULL);
	const char *const command = getenv("CNI_COMMAND");

	occupy_standard_descriptors();
	(void)signal(SIGPIPE, SIG_IGN);
	read_variables();
	if (command == NULL || *command == '\0')
		return print_about(name);

	const size_t input_at = put_head(name) + 4;
	struct span input = {(const char *)request + input_at, 0};

	/* A person who asks for the version types no configuration. */
	if (strcmp(command, "VERSION") != 0 || isatty(STDIN_FILENO) == 0)
		input = read_input(input_at, start + settings.timeout);
	(void)put_number(input_at - 4, (uint32_t)input.length, 4);
	(void)put_number(4, (uint32_t)(input_at + input.length - HEADER), 4);
	read_configuration(input, name);
	read_variables();

	const int64_t deadline = start + settings.timeout;
	const int fd = connect_daemon(deadline, now() + settings.connect);

	check_peer(fd);
	send_request(fd, input_at + input.length, deadline);
	const size_t length = receive_answer(fd, deadline);

	/* A result that the runtime did not get is no success. */
	if (!write_all(STDOUT_FILENO, answer + HEADER + 1, length - 1))
		return 1;
	return answer[HEADER];
}
