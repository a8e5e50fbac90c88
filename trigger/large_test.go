package trigger

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// longWait bounds what takes a second on an idle machine, and took more than a minute once.
const longWait = 60 * time.Second

// inTime fails the test unless do ends.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(longWait):
		t.Fatalf("it has not ended after %s", longWait)
	}
}

// TestObjectsWithVeryManyKeysAreChecked: in a time that grows with the number of keys, and not with its square.
func TestObjectsWithVeryManyKeysAreChecked(t *testing.T) {
	var many strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&many, `"k%d":1,`, i)
	}
	for _, c := range []struct{ event, want string }{
		{"{" + many.String() + `"k199999":1}`, "no trigger sends an event with these keys: k0, k1,"},
	} {
		inTime(t, func() {
			r, err := Check([]byte(c.event))
			if err != nil || len(r.Findings) == 0 || !strings.Contains(r.Findings[0].Text, c.want) {
				t.Errorf("%.40s: %v, %.3v", c.event, err, r.Findings)
			}
		})
	}
}

// TestLongListsAreSetWithoutReadingTheTemplatesAgain: each element has ids of its own, and costs less than the text of
// all templates.
func TestLongListsAreSetWithoutReadingTheTemplatesAgain(t *testing.T) {
	const elements = 500
	kind, err := Find("obs")
	require.NoError(t, err)
	e, err := kind.New(time.Now())
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, e.Set("Records", "["+strings.Repeat("{},", elements-1)+"{}]"))
	runtime.ReadMemStats(&after)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/elements, uint64(2*len(templates)))
	records := e.root.member("Records")
	require.Len(t, records.vals, elements)
	ids := map[string]bool{}
	for _, record := range records.vals {
		ids[record.member("responseElements").member("x-amz-request-id").text] = true
	}
	require.Len(t, ids, elements)
}

// TestMembersAreFoundInLongObjects: by their keys, also after further ones and after a value that replaces all.
func TestMembersAreFoundInLongObjects(t *testing.T) {
	n := &node{kind: object}
	for i := range 3 * longObject {
		key := fmt.Sprint("key_", i)
		require.Nil(t, n.member(key))
		n.add(key, &node{kind: text, text: key})
		require.Equal(t, key, n.member(key).text)
		found, v := n.similar(fmt.Sprint("Key", i))
		require.Equal(t, key, found)
		require.Same(t, n.member(key), v)
	}
	require.Equal(t, "key_0", n.clone().member("key_0").text)
	require.NotSame(t, n.member("key_0"), n.clone().member("key_0"))
	n.keep([]string{"other"}, []*node{{}}, nil)
	require.Nil(t, n.member("key_0"))
	require.NotNil(t, n.member("other"))
}
