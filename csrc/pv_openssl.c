// SPDX-License-Identifier: Apache-2.0

#include "pv_openssl.h"

#include <string.h>

struct pv_openssl pv_openssl;

static const struct {
  const char *name;
  const char *prototype;
  size_t offset;
} functions[] = {
#define F(result, name, parameters) {#name, #result "(*)" #parameters, offsetof(struct pv_openssl, name)},
    PV_OPENSSL_FUNCTIONS(F)
#undef F
};

static const size_t function_count = sizeof functions / sizeof functions[0];

const char *pv_openssl_name(size_t index) { return index < function_count ? functions[index].name : NULL; }

const char *pv_openssl_prototype(size_t index) {
  return index < function_count ? functions[index].prototype : NULL;
}

int pv_openssl_set(size_t index, void *function) {
  if (index >= function_count || function == NULL) return 0;
  // A copy of the bytes: C has no cast from an object pointer to a function pointer, though every platform
  // that CPython runs on lets them share a representation (POSIX dlsym relies on it too).
  memcpy((char *)&pv_openssl + functions[index].offset, &function, sizeof function);
  return 1;
}
