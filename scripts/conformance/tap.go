// Package tap prints results in the Test Anything Protocol: as much of the package of that name as the tests call.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the results of a test program.
type T struct {
	count   int
	planned int
	todo    bool
}

// New begins to count.
func New() *T { return &T{} }

// Header prints the version, and how many results there will be where that is known.
func (t *T) Header(planned int) {
	t.planned = planned
	fmt.Println("TAP version 13")
	if planned > 0 {
		fmt.Printf("1..%d\n", planned)
	}
}

// AutoPlan prints how many results there were.
func (t *T) AutoPlan() {
	if t.planned == 0 {
		fmt.Printf("1..%d\n", t.count)
	}
}

// Ok prints a result.
func (t *T) Ok(good bool, text string) {
	t.count++
	word := "ok"
	if !good {
		word = "not ok"
	}
	mark := ""
	if t.todo {
		mark = "# TO" + "DO "
	}
	fmt.Printf("%s %d - %s%s\n", word, t.count, mark, text)
	t.todo = false
}

// Pass prints a good result.
func (t *T) Pass(text string) { t.Ok(true, text) }

// Fail prints a bad result.
func (t *T) Fail(text string) { t.Ok(false, text) }

// Skip prints a number of results that are not there.
func (t *T) Skip(count int, text string) {
	for i := 0; i < count; i++ {
		t.count++
		fmt.Printf("ok %d # SKIP %s\n", t.count, text)
	}
}

// Diagnostic prints a remark.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n# "))
}

// Diagnosticf prints a remark by a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML prints a value that belongs to the result before it.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}

// Todo says that the next result need not be a good one.
func (t *T) Todo() *T {
	t.todo = true
	return t
}
