/* Where the daemon is and how long it may take: what plexus.c lists, read from the configuration and the environment. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "plexus.h"

#define SOCKET_NAME "/plexus.sock"

/* The version is the one that a configuration without any is written in, as the specification says. */
struct settings settings = {"0.1.0", "/run/plexus" SOCKET_NAME, "/var/lib/plexus/spool", 60000, 3000};

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

bool equals(struct span token, const char *text)
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
struct span find(struct span json, const char *quoted)
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

/*
 * Takes what find() returned to its end, where it is an object or array. Length 0: it has none.
 */
struct span whole(struct span json, struct span token)
{
	size_t depth = 0;

	if (token.length != 1 || (token.at[0] != '{' && token.at[0] != '['))
		return token;
	for (size_t i = (size_t)(token.at - json.at); i < json.length; i++) {
		const char c = json.at[i];

		if (c == '"')
			i = string_end(json, i);
		else if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && --depth == 0)
			return (struct span){token.at, (size_t)(json.at + i + 1 - token.at)};
	}
	return (struct span){NULL, 0};
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

/* Reads an absolute path into a field of `size` bytes. The empty one is as good as none. */
static void read_directory(struct span json, const char *quoted, const char *suffix, char *to, size_t size)
{
	const struct span token = find(json, quoted);
	const size_t most = size - strlen(suffix) - 1;
	bool usable = token.length > 2 && token.length - 2 <= most;

	if (token.length == 0 || equals(token, "\"\""))
		return;
	usable = usable && token.at[0] == '"' && token.at[1] == '/' && memchr(token.at, '\\', token.length) == NULL &&
		 memchr(token.at, '\0', token.length) == NULL;
	if (!usable)
		fail(INVALID_CONFIG, "", "standard input, %s: expected an absolute path of at most %zu bytes, without escapes",
		     quoted, most);
	memcpy(to, token.at + 1, token.length - 2);
	(void)strcpy(to + token.length - 2, suffix);
}

static void read_seconds(struct span json, const char *quoted, int64_t *milliseconds)
{
	const struct span token = find(json, quoted);

	if (token.length > 0 && !parse_seconds(token, milliseconds))
		fail(INVALID_CONFIG, "", "standard input, %s: expected seconds, 0 to %d", quoted, (int)MAX_SECONDS);
}

void read_configuration(const struct call *call)
{
	const struct span json = call->input;

	read_version(json);
	if (!call->is_meta)
		return;
	read_directory(json, "\"socketDir\"", SOCKET_NAME, settings.socket, sizeof(settings.socket));
	read_directory(json, "\"daemonSocketDir\"", SOCKET_NAME, settings.socket, sizeof(settings.socket));
	read_directory(json, "\"spoolDir\"", "", settings.spool, sizeof(settings.spool));
	read_seconds(json, "\"timeoutSeconds\"", &settings.timeout);
	read_seconds(json, "\"connectSeconds\"", &settings.connect);
}

static void read_seconds_variable(const char *name, int64_t *milliseconds)
{
	const char *text = getenv(name);

	if (text != NULL && *text != '\0' && !parse_seconds((struct span){text, strlen(text)}, milliseconds))
		fail(INVALID_ENVIRONMENT, "", "%s: expected seconds, 0 to %d, found \"%.64s\"", name, (int)MAX_SECONDS, text);
}

static void read_path_variable(const char *name, char *to, size_t size)
{
	const char *path = getenv(name);

	if (path == NULL || *path == '\0')
		return;
	if (strlen(path) >= size)
		fail(INVALID_ENVIRONMENT, "", "%s: expected a path of at most %zu bytes, found %zu", name, size - 1,
		     strlen(path));
	(void)strcpy(to, path);
}

void read_variables(void)
{
	read_path_variable("PLEXUS_SOCKET", settings.socket, sizeof(settings.socket));
	read_path_variable("PLEXUS_SPOOL", settings.spool, sizeof(settings.spool));
	read_seconds_variable("PLEXUS_TIMEOUT_SECONDS", &settings.timeout);
	read_seconds_variable("PLEXUS_CONNECT_SECONDS", &settings.connect);
}
