/* Hostile bytes into the plan decoder: it refuses them, or every pointer it gives lies inside them. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct plan plan;

static void check_text(const uint8_t *data, size_t size, const struct argument *argument)
{
	const uint8_t *text = (const uint8_t *)argument->text;
	if (text)
		assert(text >= data && argument->length <= size && text + argument->length <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of exactly this size, so that the sanitizer sees one byte too many. */
	uint8_t *copy = malloc(size ? size : 1);
	struct failure why;
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (plan_decode(copy, size, &plan, &why) == 0) {
		assert(plan.count <= MAX_OPS);
		for (size_t i = 0; i < plan.count; i++) {
			for (size_t j = 0; j < OP_MAX_ARGS; j++)
				check_text(copy, size, &plan.ops[i].args[j]);
			failure_of_op(&why, &plan, i, 1, NULL);
			assert(memchr(why.text, '\0', sizeof(why.text)));
		}
	} else {
		assert(why.error > 0 && why.exit_code == 125);
	}
	free(copy);
	return 0;
}
