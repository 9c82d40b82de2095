/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz harness over stored inputs, where libFuzzer is not at hand: each argument is a file
 * or a folder of files. Fails if an input cannot be read or if there is none.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX (1 << 20)

static unsigned long n_run, n_failed;

static void replay_failed(const char *path, const char *why)
{
	fprintf(stderr, "%s: %s\n", path, why);
	n_failed++;
}

static void replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *all = malloc(INPUT_MAX), *exact;
	size_t len;

	if (!f || !all) {
		replay_failed(path, strerror(errno));
	} else {
		len = fread(all, 1, INPUT_MAX, f);
		exact = malloc(len ? len : 1);
		if (exact && !ferror(f)) {
			memcpy(exact, all, len);
			LLVMFuzzerTestOneInput(exact, len);
			n_run++;
		} else {
			replay_failed(path, "cannot be read");
		}
		free(exact);
	}
	free(all);
	if (f)
		fclose(f);
}

static void replay_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	if (n < 0) {
		replay_failed(path, strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		char *file = NULL;

		if (names[i]->d_name[0] != '.' &&
		    asprintf(&file, "%s/%s", path, names[i]->d_name) > 0)
			replay_file(file);
		free(file);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) < 0)
			replay_failed(argv[i], strerror(errno));
		else if (S_ISDIR(st.st_mode))
			replay_folder(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("%lu inputs replayed, %lu failed\n", n_run, n_failed);
	return n_failed || !n_run;
}
