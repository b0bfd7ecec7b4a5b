/* A TFLite external delegate for tests: it takes the float MUL operators of a model and runs them.
 *
 * Options: fail=create and fail=prepare make it fail there; take=none leaves every operator alone.
 * The structures are those parts of TensorFlow Lite's C interface (lite/core/c/common.h) that are
 * used here, in the order that all releases since 2.5 have them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  float *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  char data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs; } Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later_fields[6];
} Registration;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *implementation;
  int (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  int (*copy_from)(Context *, Delegate *, int, Tensor *);
  int (*copy_to)(Context *, Delegate *, int, Tensor *);
  void (*free_handle)(Context *, Delegate *, int *);
  int64_t flags;
  void *opaque;
  void *later_fields[4];
};

enum { MUL = 18, FLOAT32 = 1, OK = 0, ERROR = 1 };
enum { TAKE_MUL, TAKE_NONE, FAIL_PREPARE };

static int kernel_prepare(Context *context, Node *node) { return OK; }

static int kernel_invoke(Context *context, Node *node) {
  const Tensor *a = &context->tensors[node->inputs->data[0]];
  const Tensor *b = &context->tensors[node->inputs->data[1]];
  Tensor *out = &context->tensors[node->outputs->data[0]];
  size_t of_a = a->bytes / sizeof(float), of_b = b->bytes / sizeof(float);
  for (size_t i = 0; i < out->bytes / sizeof(float); i++)
    out->data[i] = a->data[i % of_a] * b->data[i % of_b];
  return OK;
}

static int prepare(Context *context, Delegate *delegate) {
  intptr_t mode = (intptr_t)delegate->data;
  if (mode == FAIL_PREPARE) return ERROR;
  if (mode == TAKE_NONE) return OK;
  IntArray *plan;
  if (context->get_execution_plan(context, &plan) != OK) return ERROR;
  IntArray *taken = calloc(1, sizeof(IntArray) + plan->size * sizeof(int));
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    context->get_node(context, plan->data[i], &node, &registration);
    if (registration->builtin_code == MUL &&
        context->tensors[node->outputs->data[0]].type == FLOAT32)
      taken->data[taken->size++] = plan->data[i];
  }
  Registration kernel = {0};
  kernel.prepare = kernel_prepare;
  kernel.invoke = kernel_invoke;
  kernel.custom_name = "TestDelegate";
  kernel.version = 1;
  int status = taken->size ? context->replace(context, kernel, taken, delegate) : OK;
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report_error)(const char *)) {
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->prepare = prepare;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "fail") && !strcmp(values[i], "create")) {
      report_error("no such device on the bus");
      free(delegate);
      return NULL;
    }
    if (!strcmp(keys[i], "fail") && !strcmp(values[i], "prepare"))
      delegate->data = (void *)(intptr_t)FAIL_PREPARE;
    if (!strcmp(keys[i], "take") && !strcmp(values[i], "none"))
      delegate->data = (void *)(intptr_t)TAKE_NONE;
  }
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
