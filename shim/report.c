/* What the runtime reads: errors of the CNI specification, on standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plexus.h"

/* Whether all of it was written. The runtime reads at its own pace, so there is no time limit. */
bool write_all(int fd, const void *bytes, size_t length)
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
_Noreturn void fail(enum code code, const char *details, const char *format, ...)
{
	char message[MAX_MESSAGE];
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
