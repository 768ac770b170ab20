/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guard_path.h"

#include "install_paths.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static const char guard_name[] = "qmpsnap-guard";

/* The path of the file that holds this code: a program, or a shared library. */
static bool own_file(char path[static PATH_MAX], bool *is_program, struct qmpsnap_error *err)
{
	Dl_info own, program;

	*is_program = true;
	/* A static program has nothing to ask; AT_ENTRY is in the program itself. */
	if (dladdr(guard_name, &own) != 0 && own.dli_fname &&
		dladdr((const void *)(uintptr_t)getauxval(AT_ENTRY), &program) != 0 && // NOLINT
		own.dli_fbase != program.dli_fbase) {
		*is_program = false;
		if (snprintf(path, PATH_MAX, "%s", own.dli_fname) < PATH_MAX)
			return true;
		return error_set(err, QMPSNAP_INTERNAL, "the library's path is too long");
	}
	const ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
	if (len < 0)
		return error_errno(err, QMPSNAP_INTERNAL, errno, "/proc/self/exe");
	path[len] = '\0';
	return true;
}

static bool is_there(char path[static PATH_MAX], const char *folder, const char *way)
{
	const int len = snprintf(path, PATH_MAX, "%s%s%s", folder, way, guard_name);

	return len > 0 && len < PATH_MAX && access(path, X_OK) == 0;
}

bool guard_find(char path[static PATH_MAX], struct qmpsnap_error *err)
{
	static const char *const ways[] = {
		[false] = "/" PATH_LIB_TO_LIBEXEC "/", [true] = "/" PATH_BIN_TO_LIBEXEC "/"};
	char folder[PATH_MAX];
	bool is_program;

	if (!own_file(folder, &is_program, err))
		return false;
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	else
		folder[0] = '\0';
	const char *way = ways[is_program];
	if ((slash && (is_there(path, folder, "/") || is_there(path, folder, way))) ||
		is_there(path, PATH_LIBEXEC, "/"))
		return true;
	error_set(err, QMPSNAP_REFUSED, "the guard %s is neither in %s nor in %s", guard_name,
		slash ? folder : ".", PATH_LIBEXEC);
	error_hint(err, "install all of qmpsnap, or run with --no-guard");
	return false;
}
