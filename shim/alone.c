/*
 * An ADD while no daemon listens, where the administrator chose that pods go on with the default network only.
 *
 * The daemon has prepared what to execute: see prepared.c. Nothing is parsed as JSON here; a plugin's input is put together
 * of pieces of bytes. What is done is noted in the spool before and after, for the daemon to adopt:
 *
 *   PLUGIN:CONTAINERID:IFNAME:add      the frame | "PLXN" u32 length, what the daemon wants to know
 *                                                | "PLXR" u32 length, the result: only once all plugins have succeeded
 *
 * The file is locked for as long as this runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prepared.h"

enum {
	MAX_OUTPUT = 1 << 20,
	MAX_VARIABLES = 4096,
	/* Milliseconds for DEL of what was done, after a failure, and between looks at a plugin. */
	UNDO_MS = 30000,
	TICK_MS = 20
};

/* What a plugin printed, without white space around it, and how it ended. */
struct outcome {
	struct span output;
	bool succeeded;
	bool timed_out;
	bool overflowed;
	int status;
};

static char outputs[3][MAX_OUTPUT];

static bool put_text(int fd, const char *text)
{
	return write_all(fd, text, strlen(text));
}

static bool put_span(int fd, struct span text)
{
	return write_all(fd, text.at, text.length);
}

/* Those values of the runtime's runtimeConfig whose capability the plugin declares. */
static bool put_runtime_config(int fd, const struct plugin *plugin, struct span all)
{
	const char *before = ",\"runtimeConfig\":{";
	bool written = true;
	bool any = false;

	for (size_t i = 0; i < plugin->capabilities; i++) {
		char key[256];
		const struct span name = plugin->capability[i];

		if (name.length > sizeof(key) - 3)
			continue;
		(void)snprintf(key, sizeof(key), "\"%.*s\"", (int)name.length, name.at);
		const struct span value = whole(all, find(all, key));

		if (value.length == 0)
			continue;
		written = written && put_text(fd, before) && put_text(fd, key) && put_text(fd, ":") && put_span(fd, value);
		before = ",";
		any = true;
	}
	return written && (!any || put_text(fd, "}"));
}

/* A plugin's standard input, in memory, ready to be read. Below 0: errno says why not. */
static int compose_input(const struct plugin *plugin, struct span runtime_config, struct span previous)
{
	const int fd = memfd_create("configuration", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	bool written = put_span(fd, plugin->config) && put_runtime_config(fd, plugin, runtime_config);

	if (previous.length > 0)
		written = written && put_text(fd, ",\"prevResult\":") && put_span(fd, previous);
	if (written && put_text(fd, "}") && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* The environment of a plugin: the runtime's, but for the command, and with the administrator's directories in front. */
static char **environment_for(const char *command)
{
	static char *variables[MAX_VARIABLES];
	static char command_variable[32];
	static char path_variable[MAX_PATHS];
	const char *path = getenv("CNI_PATH");
	size_t count = 0;

	/* check_environment() has seen that there is room for all. */
	for (char **each = environ; *each != NULL && count < MAX_VARIABLES - 3; each++) {
		if (strncmp(*each, "CNI_COMMAND=", 12) != 0 && strncmp(*each, "CNI_PATH=", 9) != 0)
			variables[count++] = *each;
	}
	(void)snprintf(command_variable, sizeof(command_variable), "CNI_COMMAND=%s", command);
	(void)snprintf(path_variable, sizeof(path_variable), "CNI_PATH=%.*s%s%s", (int)prepared.directories.length,
		       prepared.directories.at, path == NULL || *path == '\0' ? "" : ":", path == NULL ? "" : path);
	variables[count++] = command_variable;
	variables[count++] = path_variable;
	variables[count] = NULL;
	return variables;
}

/* In the child: never returns. It ends with its parent. */
static _Noreturn void become(struct plugin *plugin, char **variables, int input, int output, pid_t parent)
{
	char *arguments[] = {plugin->path, NULL};

	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (getppid() != parent || dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0)
		_exit(1);
	(void)execve(plugin->path, arguments, variables);
	fail(IO_FAILURE, "", "execute %s: %s", plugin->path, strerror(errno));
}

static struct span trimmed(const char *bytes, size_t length)
{
	static const char blank[] = " \t\r\n";

	while (length > 0 && strchr(blank, bytes[length - 1]) != NULL && bytes[length - 1] != '\0')
		length--;
	while (length > 0 && strchr(blank, *bytes) != NULL && *bytes != '\0') {
		bytes++;
		length--;
	}
	return (struct span){bytes, length};
}

static bool is_object(struct span json)
{
	return json.length >= 2 && json.at[0] == '{' && json.at[json.length - 1] == '}';
}

/* Reads what a plugin prints until it has ended. What it left running in the background is not waited for. */
static struct outcome follow(pid_t child, int output, char *buffer, int64_t deadline)
{
	struct outcome outcome = {.status = 0};
	size_t length = 0;
	bool ended = false;

	for (;;) {
		ended = ended || waitpid(child, &outcome.status, WNOHANG) == child;
		const ssize_t n = read(output, buffer + length, MAX_OUTPUT - length);

		if (n > 0)
			length += (size_t)n;
		else if (ended && (n == 0 || errno == EAGAIN))
			break;
		else if (n == 0)
			(void)poll(NULL, 0, 1);
		else if (errno == EAGAIN)
			(void)wait_for(output, POLLIN, now() + TICK_MS);
		outcome.overflowed = length == MAX_OUTPUT;
		outcome.timed_out = now() >= deadline;
		if (outcome.overflowed || outcome.timed_out)
			break;
	}
	if (!ended) {
		(void)kill(-child, SIGKILL);
		(void)kill(child, SIGKILL);
		while (waitpid(child, &outcome.status, 0) < 0 && errno == EINTR)
			;
	}
	outcome.output = trimmed(buffer, length);
	outcome.succeeded = ended && !outcome.overflowed && WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 0;
	return outcome;
}

/* Executes a plugin. Where that cannot even be begun, `problem` says why. */
static struct outcome execute(struct plugin *plugin, const char *command, const struct call *call, struct span previous,
			      char *buffer, int64_t deadline, const char **problem)
{
	struct outcome outcome = {.status = 0};
	int pipes[2] = {-1, -1};
	const struct span runtime_config = whole(call->input, find(call->input, "\"runtimeConfig\""));
	const int input = compose_input(plugin, runtime_config, previous);
	char **variables = environment_for(command);
	const pid_t parent = getpid();

	*problem = NULL;
	if (input < 0 || pipe2(pipes, O_CLOEXEC) != 0 || fcntl(pipes[0], F_SETFL, O_NONBLOCK) != 0) {
		*problem = problem_of("prepare a plugin's input and output");
	} else {
		const pid_t child = fork();

		if (child == 0)
			become(plugin, variables, input, pipes[1], parent);
		(void)close(pipes[1]);
		pipes[1] = -1;
		if (child < 0)
			*problem = problem_of("fork");
		else
			outcome = follow(child, pipes[0], buffer, deadline);
	}
	for (size_t i = 0; i < 2; i++) {
		if (pipes[i] >= 0)
			(void)close(pipes[i]);
	}
	if (input >= 0)
		(void)close(input);
	return outcome;
}

/* Calls DEL of the first plugins, the last first. Returns whether all succeeded. */
static bool undo(size_t count, const struct call *call, struct span previous)
{
	const int64_t deadline = now() + UNDO_MS;
	bool undone = true;

	while (count-- > 0) {
		const char *problem;
		const struct span given = prepared.has_previous ? previous : (struct span){NULL, 0};
		const struct outcome outcome =
			execute(&prepared.plugins[count], "DEL", call, given, outputs[2], deadline, &problem);

		undone = undone && problem == NULL && outcome.succeeded;
		step();
	}
	return undone;
}

/* Prints why an ADD failed: in the plugin's own words, where it has any. */
static int tell_failure(const struct plugin *plugin, struct outcome outcome, const char *problem)
{
	if (problem != NULL)
		fail(IO_FAILURE, "", "the default network alone, %s: %s", plugin->path, problem);
	if (outcome.timed_out)
		fail(TRY_AGAIN_LATER, "", "the default network alone: %s did not finish in %lld ms and was killed", plugin->path,
		     (long long)settings.timeout);
	if (outcome.overflowed)
		fail(IO_FAILURE, "", "the default network alone: %s printed more than %d bytes and was killed", plugin->path,
		     (int)MAX_OUTPUT);
	if (!outcome.succeeded && is_object(outcome.output)) {
		(void)(put_span(STDOUT_FILENO, outcome.output) && put_text(STDOUT_FILENO, "\n"));
		return 1;
	}
	if (outcome.succeeded)
		fail(INTERNAL, "", "the default network alone: %s succeeded, and printed no result", plugin->path);
	fail(INTERNAL, "its standard error may say more", "the default network alone: %s ended with %s %d and no message",
	     plugin->path, WIFEXITED(outcome.status) ? "exit status" : "signal",
	     WIFEXITED(outcome.status) ? WEXITSTATUS(outcome.status) : WTERMSIG(outcome.status));
}

/* Adds the result to the record, on the disk. */
static bool record_result(int record, struct span result)
{
	unsigned char head[HEADER] = {'P', 'L', 'X', 'R'};

	for (size_t i = 0; i < 4; i++)
		head[4 + i] = (unsigned char)(result.length >> (8 * i));
	return write_all(record, head, sizeof(head)) && put_span(record, result) && fsync(record) == 0;
}

/* Where what is done is noted. */
struct record {
	int directory;
	char name[NAME_MAX + 1];
	int file;
};

/* Nothing is held, so there is nothing for the daemon to adopt. */
static void forget(const struct record *record)
{
	(void)unlinkat(record->directory, record->name, 0);
	(void)fsync(record->directory);
	step();
}

/* Runs the chain. What it holds when this returns or ends is in the record. Returns the exit status. */
static int run_chain(const struct call *call, const struct record *record, int64_t deadline)
{
	struct span result = {NULL, 0};

	for (size_t i = 0; i < prepared.count; i++) {
		const char *problem;
		const struct outcome outcome =
			execute(&prepared.plugins[i], "ADD", call, result, outputs[i & 1], deadline, &problem);

		step();
		if (problem == NULL && outcome.succeeded && is_object(outcome.output)) {
			result = outcome.output;
			continue;
		}
		if (undo(i + 1, call, result))
			forget(record);
		return tell_failure(&prepared.plugins[i], outcome, problem);
	}
	if (!record_result(record->file, result)) {
		const char *problem = problem_of("note the result");

		if (undo(prepared.count, call, result))
			forget(record);
		fail(TRY_AGAIN_LATER, REMEDY, "the default network alone: %s", problem);
	}
	step();
	/* A result that the runtime did not get is no success: it will call DEL. */
	return put_span(STDOUT_FILENO, result) && put_text(STDOUT_FILENO, "\n") ? 0 : 1;
}

/* Whether the sandbox is one that nobody knows of yet: otherwise it takes the daemon to say what it holds. */
static const char *look_for_earlier(int directory, const char *sandbox)
{
	char entry[NAME_MAX + 32];
	bool waits;
	const char *problem = look_through(directory, sandbox, &waits);

	(void)snprintf(entry, sizeof(entry), "../journal/%s", sandbox);
	if (problem != NULL)
		return problem;
	if (waits)
		return "an earlier request for this sandbox waits for the daemon";
	return faccessat(directory, entry, F_OK, 0) == 0 ? "the daemon has attached this sandbox before" : NULL;
}

static const char *check_environment(void)
{
	const char *path = getenv("CNI_PATH");
	size_t count = 0;

	while (environ[count] != NULL)
		count++;
	if (count > MAX_VARIABLES - 3)
		return "the environment has too many variables";
	return path != NULL && strlen(path) > MAX_PATHS / 2 - 16 ? "CNI_PATH is too long" : NULL;
}

static const char *check_prepared(void)
{
	static char text[MAX_MESSAGE / 2];

	if (!equals(prepared.cni_version, settings.cni_version)) {
		(void)snprintf(text, sizeof(text), "it was prepared for cniVersion %.*s, and the runtime asks for %s",
			       (int)(prepared.cni_version.length < 16 ? prepared.cni_version.length : 16),
			       prepared.cni_version.at, settings.cni_version);
		return text;
	}
	if (prepared.readiness_file[0] != '\0' && access(prepared.readiness_file, F_OK) != 0)
		return problem_of(prepared.readiness_file);
	return NULL;
}

/* Writes the record as it is to be before anything is executed. */
static const char *begin_record(const struct call *call, const char *sandbox, struct record *record)
{
	unsigned char head[HEADER] = {'P', 'L', 'X', 'N'};
	const struct span parts[] = {call->frame, {(const char *)head, sizeof(head)}, prepared.network};
	const int length = snprintf(record->name, sizeof(record->name), "%s:%s:add", call->name, sandbox);

	if (length >= (int)sizeof(record->name))
		return "CNI_CONTAINERID is too long";
	for (size_t i = 0; i < 4; i++)
		head[4 + i] = (unsigned char)(prepared.network.length >> (8 * i));
	return write_synced(record->directory, record->name, parts, 3, &record->file);
}

int attach_alone(const struct call *call, int64_t deadline, const char **problem)
{
	struct record record = {.directory = -1, .file = -1};
	char sandbox[NAME_MAX + 1];

	errno = 0;
	*problem = open_spool(false, &record.directory);
	if (*problem != NULL) {
		/* Where there is no spool, nobody has chosen anything. */
		if (errno == ENOENT)
			*problem = NULL;
		return -1;
	}
	if (!read_prepared(record.directory, problem))
		return -1;
	*problem = name_sandbox(sandbox);
	if (*problem == NULL)
		*problem = check_environment();
	if (*problem == NULL)
		*problem = check_prepared();
	if (*problem == NULL)
		*problem = look_for_earlier(record.directory, sandbox);
	if (*problem == NULL)
		*problem = begin_record(call, sandbox, &record);
	return *problem == NULL ? run_chain(call, &record, deadline) : -1;
}
