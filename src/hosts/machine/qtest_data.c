/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes as hexadecimal digits and as base64 (RFC 4648, 4), each way in place. */
#include "hosts/machine/qtest.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

long qtest_unhex(char *buf, size_t len)
{
	size_t n = len / 2;

	if (len % 2)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(buf[2 * i]), lo = hex_digit(buf[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -1;
		buf[i] = (char)(hi << 4 | lo);
	}
	return (long)n;
}

size_t qtest_hex_room(size_t n)
{
	return 2 * n;
}

void qtest_hex(char *text, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		uint8_t b = (uint8_t)text[n + i];

		text[2 * i] = digits[b >> 4];
		text[2 * i + 1] = digits[b & 15];
	}
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long qtest_unbase64(char *buf, size_t len)
{
	uint32_t bits = 0;
	size_t n = 0, i;

	if (len % 4)
		return -1;
	if (len && buf[len - 1] == '=')
		len--;
	if (len % 4 == 3 && buf[len - 1] == '=')
		len--;
	for (i = 0; i < len; i++) {
		int v = base64_digit(buf[i]);

		if (v < 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4)
			buf[n++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	return (long)n;
}

size_t qtest_base64_room(size_t n)
{
	return (n + 2) / 3 * 4;
}

void qtest_base64(char *text, size_t n)
{
	size_t room = qtest_base64_room(n);
	const char *from = text + room - n;

	for (size_t i = 0, at = 0; i < n; i += 3, at += 4) {
		size_t left = n - i;
		uint32_t bits = (uint32_t)(uint8_t)from[i] << 16;

		if (left > 1)
			bits |= (uint32_t)(uint8_t)from[i + 1] << 8;
		if (left > 2)
			bits |= (uint8_t)from[i + 2];
		text[at] = base64_digits[bits >> 18];
		text[at + 1] = base64_digits[bits >> 12 & 63];
		text[at + 2] = left > 1 ? base64_digits[bits >> 6 & 63] : '=';
		text[at + 3] = left > 2 ? base64_digits[bits & 63] : '=';
	}
}
