/* Time, and waiting. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "plexus.h"

int64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Waits until the descriptor is ready, has an error or was hung up on. False: the deadline passed. */
bool wait_for(int fd, short events, int64_t deadline)
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

/* Built with STEPS=1, for tests, the process ends as by a power cut at the step that PLEXUS_KILL_AT_STEP numbers, from 1. */
void step(void)
{
#ifdef PLEXUS_STEPS
	static int count;
	const char *at = getenv("PLEXUS_KILL_AT_STEP");

	if (at != NULL && ++count == atoi(at))
		(void)kill(getpid(), SIGKILL);
#endif
}
