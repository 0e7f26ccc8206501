// SPDX-License-Identifier: Apache-2.0
//
// Which host a connection was made for, where the connection itself cannot say: an IP address has no server
// name extension, and OpenSSL's binding leaves no room for a pointer of ours on a single connection.

#ifndef PV_REFERENCES_H
#define PV_REFERENCES_H

#include "pv_host.h"
#include "pv_slice.h"

// pv_reference is one such connection. Its memory is the caller's, and stays where it is from _add to
// _remove.
struct pv_reference {
  struct pv_reference *next;
  const void *connection;  // never followed; only its address counts
  struct pv_host host;
};

// pv_references is a table of them that any number of threads may use, while others fork; the child's copy of
// it is whole and not locked.
struct pv_references;

// pv_references_new returns an empty table, or NULL if memory ran out. pv_references_free takes NULL too.
PV_MUST_USE struct pv_references *pv_references_new(void);
void pv_references_free(struct pv_references *table);

// pv_references_add enters |reference|. A connection that is entered twice has the host of the later entry.
void pv_references_add(struct pv_references *table, struct pv_reference *reference);

// pv_references_remove takes |reference| out, which must happen before the connection's address can be used
// again. It does nothing if it is not there.
void pv_references_remove(struct pv_references *table, const struct pv_reference *reference);

// pv_references_find copies the host of |connection| to |*out_host| and returns 1, or returns 0 and leaves it
// untouched.
PV_MUST_USE int pv_references_find(struct pv_references *table, const void *connection,
                                   struct pv_host *out_host);

#endif  // PV_REFERENCES_H
