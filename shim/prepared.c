/*
 * The file "default-network" of the spool, in which the daemon prepares what is to be executed while there is none:
 * src/daemon/spool/prepared.ts writes it.
 *
 *   "PLXD"  u32 bytes that follow
 *   cniVersion | readiness file, empty for none | directories for CNI_PATH | what the daemon wants to know later
 *   u8 whether DEL has a prevResult | u8 plugins, each: path | its configuration, without the brace at its end
 *                                                | u8 capabilities, each: name
 *
 * Each text is u32 length and bytes; numbers are little-endian.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "prepared.h"

enum { MAX_PREPARED = 1 << 20 };

struct prepared prepared;

/* What is left to read of the prepared file; `broken` once it does not make sense. */
struct reader {
	const char *at;
	size_t left;
	bool broken;
};

static uint32_t take_number(struct reader *reader, size_t bytes)
{
	uint32_t value = 0;

	if (reader->left < bytes) {
		reader->broken = true;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		value |= (uint32_t)(unsigned char)reader->at[i] << (8 * i);
	reader->at += bytes;
	reader->left -= bytes;
	return value;
}

static struct span take_text(struct reader *reader)
{
	const uint32_t length = take_number(reader, 4);
	struct span text = {reader->at, length};

	if (text.length > reader->left) {
		reader->broken = true;
		text.length = 0;
	}
	reader->at += text.length;
	reader->left -= text.length;
	return text;
}

static void take_path(struct reader *reader, char to[PATH_MAX])
{
	const struct span text = take_text(reader);

	if (text.length >= PATH_MAX || memchr(text.at, '\0', text.length) != NULL)
		reader->broken = true;
	else
		memcpy(to, text.at, text.length);
}

static void take_plugin(struct reader *reader, struct plugin *plugin)
{
	take_path(reader, plugin->path);
	plugin->config = take_text(reader);
	plugin->capabilities = take_number(reader, 1);
	if (plugin->capabilities > MAX_CAPABILITIES)
		reader->broken = true;
	for (size_t i = 0; i < plugin->capabilities && !reader->broken; i++)
		plugin->capability[i] = take_text(reader);
}

static bool parse_prepared(const char *bytes, size_t length)
{
	struct reader reader = {bytes, length, length < HEADER || memcmp(bytes, "PLXD", 4) != 0};

	(void)take_number(&reader, 4);
	if (take_number(&reader, 4) != reader.left)
		reader.broken = true;
	if (reader.broken)
		return false;
	prepared.cni_version = take_text(&reader);
	take_path(&reader, prepared.readiness_file);
	prepared.directories = take_text(&reader);
	prepared.network = take_text(&reader);
	prepared.has_previous = take_number(&reader, 1) != 0;
	prepared.count = take_number(&reader, 1);
	if (prepared.count < 1 || prepared.count > MAX_PLUGINS || prepared.directories.length > MAX_PATHS / 2)
		reader.broken = true;
	for (size_t i = 0; i < prepared.count && !reader.broken; i++)
		take_plugin(&reader, &prepared.plugins[i]);
	return !reader.broken && reader.left == 0;
}

bool read_prepared(int directory, const char **problem)
{
	static char bytes[MAX_PREPARED];
	struct stat about;
	size_t length = 0;
	ssize_t n;
	const int fd = openat(directory, "default-network", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		if (errno != ENOENT)
			*problem = problem_of("open default-network");
		return false;
	}
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_uid != geteuid() || (about.st_mode & 022) != 0) {
		(void)close(fd);
		*problem = "default-network is no file of the daemon's";
		return false;
	}
	while (length < sizeof(bytes) && (n = read(fd, bytes + length, sizeof(bytes) - length)) != 0) {
		if (n > 0)
			length += (size_t)n;
		else if (errno != EINTR)
			break;
	}
	(void)close(fd);
	if (!parse_prepared(bytes, length))
		*problem = "default-network makes no sense: is it of another version of the daemon?";
	return *problem == NULL;
}
