/* What the daemon has prepared for an ADD without it: prepared.c reads it, alone.c uses it. */
#ifndef PREPARED_H
#define PREPARED_H

#include "plexus.h"

enum {
	MAX_PLUGINS = 32,
	MAX_CAPABILITIES = 32,
	/* Of CNI_PATH, half of it for the directories that are prepared. */
	MAX_PATHS = 1 << 14
};

struct plugin {
	char path[PATH_MAX];
	struct span config;
	size_t capabilities;
	struct span capability[MAX_CAPABILITIES];
};

struct prepared {
	struct span cni_version;
	char readiness_file[PATH_MAX];
	struct span directories;
	struct span network;
	bool has_previous;
	size_t count;
	struct plugin plugins[MAX_PLUGINS];
};

extern struct prepared prepared;

/* Reads what the daemon prepared. False without a problem: the administrator did not choose this. */
bool read_prepared(int directory, const char **problem);

#endif
