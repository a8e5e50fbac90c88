package async

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// earlier does what an agent of a release did that gave each function streams of its own.
type earlier struct {
	t                *testing.T
	conn             *nats.Conn
	js               jetstream.JetStream
	prefix, name     string
	runner, outgoing jetstream.Consumer
	records, configs jetstream.KeyValue
}

// newEarlier makes the streams, buckets and consumers of the function of open, or of another one, as such an agent did
// at its start.
func newEarlier(t *testing.T, s *server.Server, function ...string) *earlier {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(s))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	fn := fncontext.Function{Region: "r", Project: "p", Package: "default", Name: "hello", Version: "latest"}
	for _, name := range function {
		fn.Name = name
	}
	o := &earlier{t: t, conn: conn, prefix: "gantry." + key(&fn)}
	o.js, err = jetstream.New(conn)
	require.NoError(t, err)
	o.name = strings.ReplaceAll(o.prefix, ".", "_")
	stream := func(cfg jetstream.StreamConfig, durable string, wait time.Duration) jetstream.Consumer {
		cfg.Retention, cfg.Discard, cfg.Storage = jetstream.WorkQueuePolicy, jetstream.DiscardNew, jetstream.FileStorage
		cfg.MaxBytes = 64 << 20
		made, err := o.js.CreateOrUpdateStream(t.Context(), cfg)
		require.NoError(t, err)
		c, err := made.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{
			Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: wait, MaxAckPending: -1, MaxDeliver: -1,
		})
		require.NoError(t, err)
		return c
	}
	o.runner = stream(jetstream.StreamConfig{
		Name: o.name + "_events", Subjects: []string{o.prefix + ".event.*"}, MaxMsgs: 1000, MaxMsgSize: 256<<10 + 64<<10,
		Duplicates: 2 * time.Minute, Description: "events of " + fn.URN(),
	}, "run", 30*time.Second)
	o.outgoing = stream(jetstream.StreamConfig{
		Name: o.name + "_notifications", Subjects: []string{o.prefix + ".notify.*"},
	}, "notify", time.Minute)
	bucket := func(name string, age time.Duration) jetstream.KeyValue {
		kv, err := o.js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{
			Bucket: o.name + name, TTL: age, MaxBytes: -1, Storage: jetstream.FileStorage, Replicas: 1,
		})
		require.NoError(t, err)
		return kv
	}
	o.records, o.configs = bucket("_records", time.Hour+25*time.Hour), bucket("_configurations", 0)
	return o
}

// streams are the four, in the order of their removal.
func (o *earlier) streams() []string {
	return []string{
		o.name + "_notifications", "KV_" + o.name + "_configurations", "KV_" + o.name + "_records", o.name + "_events",
	}
}

// left returns those of them that the server has.
func (o *earlier) left() (found []string) {
	for _, name := range o.streams() {
		if _, err := o.js.Stream(o.t.Context(), name); err == nil {
			found = append(found, name)
		}
	}
	return found
}

func (o *earlier) removed() bool { return len(o.left()) == 0 }

// accept stores an event, once if it has an id.
func (o *earlier) accept(body string, ids ...string) (id string, first bool) {
	o.t.Helper()
	id = newID()
	var options []jetstream.PublishOpt
	if len(ids) > 0 {
		id, options = ids[0], append(options, jetstream.WithMsgID(ids[0]))
	}
	ack, err := o.js.PublishMsg(o.t.Context(), &nats.Msg{
		Subject: o.prefix + ".event." + id, Data: []byte(body), Header: nats.Header{"Gantry-Version": {"latest"}},
	}, options...)
	require.NoError(o.t, err)
	return id, !ack.Duplicate
}

// put stores a record, in its JSON.
func (o *earlier) put(id, text string) {
	o.t.Helper()
	_, err := o.records.Put(o.t.Context(), id, []byte(text))
	require.NoError(o.t, err)
}

// message stores an outcome message for a stream of DIS.
func (o *earlier) message(id, stream string) {
	o.t.Helper()
	_, err := o.js.PublishMsg(o.t.Context(), &nats.Msg{Subject: o.prefix + ".notify." + id, Data: []byte(`{"from":"outbox"}`), Header: nats.Header{
		headerKind: {"DIS"}, headerParam: {`{"stream_name":"` + stream + `"}`}, nats.MsgIdHdr: {id},
	}})
	require.NoError(o.t, err)
}

// take fetches one event, as an agent does that then runs it.
func (o *earlier) take() jetstream.Msg {
	o.t.Helper()
	batch, err := o.runner.Fetch(1, jetstream.FetchMaxWait(patience))
	require.NoError(o.t, err)
	msg := <-batch.Messages()
	require.NotNil(o.t, msg, "%v", batch.Error())
	return msg
}

// stay fetches outcome messages until the returned function is called, as an agent does that has none.
func (o *earlier) stay() (leave func()) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			batch, err := o.outgoing.Fetch(1, jetstream.FetchContext(ctx))
			if err != nil {
				pause(ctx, fetchPause)
				continue
			}
			for msg := range batch.Messages() {
				_ = msg.Nak()
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// configure sets a configuration with that age, at that time; 0 removes it.
func (o *earlier) configure(alias string, age int, at time.Time) {
	o.t.Helper()
	key := configurationKey("latest", alias)
	if age == 0 {
		require.NoError(o.t, o.configs.Delete(o.t.Context(), key))
		return
	}
	stamp := at.Format(time.RFC3339)
	text, err := json.Marshal(&Configuration{FunctionURN: "urn:" + alias, AgeSeconds: age, Created: stamp, Modified: stamp})
	require.NoError(o.t, err)
	_, err = o.configs.Put(o.t.Context(), key, text)
	require.NoError(o.t, err)
}

// age returns what such an agent would see; 0 for none.
func (o *earlier) age(alias string) int {
	entry, err := o.configs.Get(o.t.Context(), configurationKey("latest", alias))
	if err != nil {
		return 0
	}
	c := &Configuration{}
	if json.Unmarshal(entry.Value(), c) != nil {
		return -1
	}
	return c.AgeSeconds
}
