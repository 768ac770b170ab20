/* SPDX-License-Identifier: Apache-2.0 */
#include "base/store.h"

#include <stdlib.h>

QMPSNAP_API const char *qmpsnap_store_spec(const struct qmpsnap_store *store)
{
	return store->spec;
}

QMPSNAP_API void qmpsnap_store_close(struct qmpsnap_store *store)
{
	if (!store)
		return;
	free(store->spec);
	free(store->kept_spec);
	free(store->cloud);
	free(store->place);
	store->ops->free(store);
}
