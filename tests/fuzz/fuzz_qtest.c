/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text of a qtest client, any bytes, against a machine without NICs.
 *
 * Every line has one answer, that is OK, FAIL or ERR and printable; interrupts come between. What
 * was said before a command too long for us, or in a step over very many timers, counts.
 */
#include "fuzz.h"
#include "machine_kit.h"

static bool begins(const char *line, const char *word)
{
	return strncmp(line, word, strlen(word)) == 0;
}

static size_t count_answers(char *said)
{
	size_t n = 0;
	char *nl;

	for (; (nl = strchr(said, '\n')); said = nl + 1) {
		*nl = '\0';
		for (const char *p = said; *p; p++)
			assert(*p >= ' ' && *p <= '~');
		if (begins(said, "IRQ "))
			continue;
		assert(!strcmp(said, "OK") || begins(said, "OK ") || begins(said, "FAIL") ||
		       begins(said, "ERR "));
		n++;
	}
	assert(*said == '\0');
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t lines = 0, n;
	bool all;
	struct kit k;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	kit_open(&k);
	kit_start(&k);
	all = kit_talk(&k, (const char *)data, size);
	n = k.said ? count_answers(k.said) : 0;
	assert(n <= lines);
	assert(n == lines || !all);
	kit_close(&k);
	return 0;
}
