/* SPDX-License-Identifier: BSD-3-Clause */
/* Scalars of option values: booleans, integers, sizes, words. */
#include "base/opts.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

bool optval_bool(const char *s, bool *v)
{
	static const char *const on[] = { "on", "yes", "true", "y" };
	static const char *const off[] = { "off", "no", "false", "n" };

	for (size_t i = 0; i < array_size(on); i++) {
		*v = !strcmp(s, on[i]);
		if (*v || !strcmp(s, off[i]))
			return true;
	}
	return false;
}

bool optval_int(const char *s, int64_t *v)
{
	const char *digits = s + (*s == '-' || *s == '+');
	long long n;
	char *end;

	if (!isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	n = strtoll(s, &end, 0);
	if (errno || *end)
		return false;
	*v = n;
	return true;
}

/* The power of two that a suffix stands for, or -1. */
static int optval_suffix(const char *s)
{
	static const char letters[] = "bkmgtpe";
	const char *at;

	if (!*s)
		return 0;
	at = strchr(letters, tolower((unsigned char)*s));
	if (!at || s[1])
		return -1;
	return 10 * (int)(at - letters);
}

/*
 * The digits behind a decimal point as 2^-64ths. From the 19th on they are too small to count and
 * only have to be digits.
 */
static const char *optval_fraction(const char *s, unsigned __int128 *frac)
{
	uint64_t num = 0, den = 1;

	for (; isdigit((unsigned char)*s); s++) {
		if (den >= 1000000000000000000)
			continue;
		num = num * 10 + (uint64_t)(*s - '0');
		den *= 10;
	}
	*frac = ((unsigned __int128)num << 64) / den;
	return s;
}

/* Decimal with an optional fraction and suffix, or 0x and hexadecimal digits without either. */
bool optval_size(const char *s, uint64_t *v)
{
	unsigned __int128 frac = 0;
	unsigned long long whole;
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	char *end;
	const char *rest;
	int shift;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	whole = strtoull(s, &end, hex ? 16 : 10);
	if (errno)
		return false;
	rest = end;
	if (!hex && *rest == '.' && isdigit((unsigned char)rest[1]))
		rest = optval_fraction(rest + 1, &frac);
	shift = hex ? (*rest ? -1 : 0) : optval_suffix(rest);
	/* Half a byte is no size. */
	if (shift < 0 || (frac && !shift) || (whole << shift) >> shift != whole)
		return false;
	*v = (uint64_t)((whole << shift) + (uint64_t)((frac << shift) >> 64));
	return true;
}

bool optval_word(const char *words, const char *s)
{
	size_t len = strlen(s);

	for (;;) {
		size_t n = strcspn(words, "|");

		if (n == len && !memcmp(words, s, n))
			return true;
		if (!words[n])
			return false;
		words += n + 1;
	}
}
