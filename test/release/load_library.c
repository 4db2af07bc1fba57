// Loads a native library as a runtime does and has it quantise a matrix, on two threads: for systems
// that have none of the runtimes. Prints what the library says of itself; the status is 0 if all is well.
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#ifdef _WIN32
#include <windows.h>
static void *library;
static int open_library(const char *path) { return (library = LoadLibraryA(path)) != NULL; }
static void *symbol(const char *name) { return (void *)GetProcAddress(library, name); }
static const char *reason(void) { return "LoadLibrary failed"; }
#else
#include <dlfcn.h>
static void *library;
static int open_library(const char *path) { return (library = dlopen(path, RTLD_NOW)) != NULL; }
static void *symbol(const char *name) { return dlsym(library, name); }
static const char *reason(void) { return dlerror(); }
#endif

enum { rows = 600, cols = 1001, size = rows * cols };

static float weights[size];
static int8_t trits[size];
static float scales[rows];

typedef int32_t (*info_fn)(uint8_t *, uint32_t, uint32_t *, uint32_t);
typedef int32_t (*threads_fn)(uint32_t);
typedef int32_t (*quantize_fn)(const float *, uint32_t, int8_t *, uint32_t, float *, uint32_t,
                               const double *, uint32_t);

static int fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  return 1;
}

int main(int count, char **arguments) {
  if (count != 2) return fail("usage: load_library <library>");
  if (!open_library(arguments[1])) return fail(reason());
  info_fn info = (info_fn)symbol("tritter_info");
  threads_fn set_threads = (threads_fn)symbol("tritter_set_threads");
  quantize_fn quantize = (quantize_fn)symbol("tritter_quantize_weights");
  if (!info || !set_threads || !quantize) return fail("a function is missing");

  static uint8_t text[4096];
  uint32_t length = 0;
  if (info(text, sizeof text, &length, 1) != 0) return fail("tritter_info failed");
  printf("%.*s\n", (int)length, (const char *)text);

  for (int index = 0; index < size; index += 1) {
    weights[index] = (float)((index * 7919 + index / 13) % 2003 - 1001) / 1001.0f;
  }
  const double options[6] = {rows, cols, cols, 0, 0, 0};
  if (set_threads(2) != 0) return fail("tritter_set_threads failed");
  if (quantize(weights, size, trits, size, scales, rows, options, 6) != 0) {
    return fail("tritter_quantize_weights failed");
  }
  for (int row = 0; row < rows; row += 1) {
    double sum = 0;
    for (int col = 0; col < cols; col += 1) sum += fabs(weights[row * cols + col]);
    const double mean = sum / cols;
    if (fabs(scales[row] - mean) > 1e-5 * mean) return fail("a scale is wrong");
    for (int col = 0; col < cols; col += 1) {
      const double quotient = weights[row * cols + col] / mean;
      // What is this close to a half may fall on either side.
      if (fabs(fabs(quotient) - 0.5) < 1e-4) continue;
      const int expected = quotient > 0.5 ? 1 : quotient < -0.5 ? -1 : 0;
      if (trits[row * cols + col] != expected) return fail("a trit is wrong");
    }
  }
  // A mistake is an error code, not a crash.
  if (quantize(weights, size, trits, size - 1, scales, rows, options, 6) == 0) {
    return fail("a wrong length was not noticed");
  }
  return 0;
}
