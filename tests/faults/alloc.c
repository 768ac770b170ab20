/* SPDX-License-Identifier: Apache-2.0
 *
 * alloc.c - linked over what can fail for lack of memory (ld's --wrap): the $FAULTS_ALLOC-th call
 * that our own code makes to any of these fails, once.  Which one it was, or how many there were,
 * is written to $FAULTS_ALLOC_FILE.  What libraries allocate for themselves isn't counted: they
 * report by these functions, and their own tests are theirs. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libnbd.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The linker's: where the program was loaded to. */
/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
extern const char __executable_start[];

static unsigned long n_calls, doomed;
static int report_fd = -1;

static void report_count(void)
{
	(void)dprintf(report_fd, "calls %lu\n", n_calls);
}

/* The programs that we start aren't meant. */
__attribute__((constructor)) static void begin(void)
{
	const char *number = getenv("FAULTS_ALLOC"), *file = getenv("FAULTS_ALLOC_FILE");

	if (!number || !file)
		return;
	doomed = strtoul(number, NULL, 10);
	report_fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)unsetenv("FAULTS_ALLOC");
	(void)atexit(report_count);
}

static bool fails(const char *function, const void *caller)
{
	if (report_fd < 0 || __atomic_add_fetch(&n_calls, 1, __ATOMIC_RELAXED) != doomed)
		return false;
	(void)dprintf(report_fd, "failed %s for 0x%tx\n", function,
		(const char *)caller - __executable_start);
	errno = ENOMEM;
	return true;
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,bugprone-macro-parentheses):
 * the linker's names; types can't stand in parentheses */

/* A function that returns NULL without memory. */
#define POINTER(type, name, parameters, arguments)                                                 \
	type *__real_##name parameters;                                                            \
	type *__wrap_##name parameters;                                                            \
	type *__wrap_##name parameters                                                             \
	{                                                                                          \
		return fails(#name, __builtin_return_address(0)) ? NULL : __real_##name arguments; \
	}
/* One that returns -1. */
#define STATUS(name, parameters, arguments)                                                        \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters                                                               \
	{                                                                                          \
		return fails(#name, __builtin_return_address(0)) ? -1 : __real_##name arguments;   \
	}

POINTER(void, malloc, (size_t size), (size))
POINTER(void, calloc, (size_t n, size_t size), (n, size))
POINTER(void, realloc, (void *old, size_t size), (old, size))
POINTER(char, strdup, (const char *text), (text))
POINTER(char, strndup, (const char *text, size_t most), (text, most))
POINTER(char, realpath, (const char *path, char *resolved), (path, resolved))
POINTER(FILE, open_memstream, (char **text, size_t *size), (text, size))
POINTER(FILE, fopen, (const char *path, const char *mode), (path, mode))
POINTER(struct json_object, json_object_new_object, (void), ())
POINTER(struct json_object, json_object_new_array, (void), ())
POINTER(struct json_object, json_object_new_string, (const char *text), (text))
POINTER(struct json_object, json_object_new_string_len, (const char *text, int len), (text, len))
POINTER(struct json_object, json_object_new_int64, (int64_t value), (value))
POINTER(struct json_object, json_object_new_uint64, (uint64_t value), (value))
POINTER(struct json_object, json_object_new_boolean, (json_bool value), (value))
POINTER(const char, json_object_to_json_string_ext, (struct json_object * object, int flags),
	(object, flags))
POINTER(struct json_tokener, json_tokener_new_ex, (int depth), (depth))
POINTER(struct json_object, json_tokener_parse, (const char *text), (text))
STATUS(json_object_object_add,
	(struct json_object * object, const char *key, struct json_object *value),
	(object, key, value))
STATUS(json_object_array_add, (struct json_object * array, struct json_object *value),
	(array, value))
POINTER(CURL, curl_easy_init, (void), ())
POINTER(CURLM, curl_multi_init, (void), ())
POINTER(CURLU, curl_url, (void), ())
POINTER(struct curl_slist, curl_slist_append, (struct curl_slist * list, const char *text),
	(list, text))
POINTER(char, curl_easy_escape, (CURL * easy, const char *text, int len), (easy, text, len))
POINTER(struct nbd_handle, nbd_create, (void), ())
POINTER(EVP_MD_CTX, EVP_MD_CTX_new, (void), ())

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list arguments;

	if (fails("asprintf", __builtin_return_address(0)))
		return -1;
	va_start(arguments, format);
	const int len = vasprintf(text, format, arguments);
	va_end(arguments);
	return len;
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp,bugprone-macro-parentheses) */
