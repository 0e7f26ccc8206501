// SPDX-License-Identifier: Apache-2.0
//
// SHA-256, FIPS 180-4.

#ifndef PV_SHA256_H
#define PV_SHA256_H

#include "pv_slice.h"

#define PV_SHA256_SIZE 32

// pv_sha256 writes the digest of the |len| bytes at |data| to |out_digest|. |data| may be NULL if |len| is 0.
// Its time depends on |len| alone.
void pv_sha256(const uint8_t *data, size_t len, uint8_t out_digest[PV_SHA256_SIZE]);

// pv_sha256_init picks the fastest code that this CPU can run. It is to be called before there is a second
// thread; without it, the portable code runs.
void pv_sha256_init(void);

// pv_sha256_backend names the code in use: "portable", "x86-sha" or "armv8-sha2".
const char *pv_sha256_backend(void);

// pv_sha256_use makes all threads use the code of that name. It returns 1, or 0 if this build or CPU does not
// have it. For tests and benchmarks: no hash may be going on.
PV_MUST_USE int pv_sha256_use(const char *backend);

#endif  // PV_SHA256_H
