/* SPDX-License-Identifier: Apache-2.0
 *
 * guard_path.h - where the guard's executable is.
 */
#ifndef BLOCKOPS_GUARD_PATH_H
#define BLOCKOPS_GUARD_PATH_H

#include "base/error.h"

#include <limits.h>

/* Finds qmpsnap-guard and writes its path.  The first of these that can be executed: beside the
 * program that this code is linked into, or beside the shared library; in the folder for it, as
 * seen from there, so that an installation may be moved as a whole; in the folder that was given to
 * the build.  REFUSED when it is in none.  Neither $PATH nor another variable is asked: what is
 * started gets hold of the guest. */
bool guard_find(char path[static PATH_MAX], struct qmpsnap_error *err);

#endif
