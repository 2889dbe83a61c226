package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var jetstreamSystem = &system{
	name:     "JetStream",
	settings: "NATS server in process, file storage, subject e.ENTITY.SCOPE.KIND, batches by atomic publish",
	durable:  "sync always",
	written:  "sync at intervals (the default of 2 minutes)",
	survives: true,
	verifies: true,
	open:     openJetStream,
}

// maxAtomicPublish is how many messages the server takes in one batch.
const maxAtomicPublish = 1000

type jetstreamStore struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	batch  atomic.Uint64
	run    string // makes the names of batches differ from those of earlier processes
}

func openJetStream(dir string, c config) (store, error) {
	s, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: c.durable, NoLog: true, NoSigs: true, MaxPayload: 1 << 20,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return nil, errors.New("the server did not start within a minute")
	}
	j := &jetstreamStore{server: s, run: strconv.FormatInt(time.Now().UnixNano(), 36)}
	if j.conn, err = nats.Connect("", nats.InProcessServer(s)); err != nil {
		return nil, err
	}
	if j.js, err = jetstream.New(j.conn); err != nil {
		return nil, err
	}
	j.stream, err = j.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
		Name: "events", Subjects: []string{"e.*.*.*"}, Storage: jetstream.FileStorage, AllowDirect: true, AllowAtomicPublish: true,
	})
	return j, err
}

func subject(e *event) string {
	return "e." + e.Entity + "." + e.Scope + "." + strconv.Itoa(int(e.Kind))
}

func (j *jetstreamStore) Append(es []event) error {
	if len(es) == 1 {
		ack, err := j.js.Publish(context.Background(), subject(&es[0]), es[0].Payload)
		if err == nil {
			es[0].Key = positionKey(ack.Sequence)
		}
		return err
	}
	for len(es) > maxAtomicPublish {
		if err := j.publish(es[:maxAtomicPublish]); err != nil {
			return err
		}
		es = es[maxAtomicPublish:]
	}
	return j.publish(es)
}

// publish sends a batch, which takes effect with its last message.
func (j *jetstreamStore) publish(es []event) error {
	id := fmt.Sprintf("%s-%d", j.run, j.batch.Add(1))
	for i := range es {
		m := nats.NewMsg(subject(&es[i]))
		m.Data = es[i].Payload
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(es)-1 {
			if err := j.conn.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		ack, err := j.js.PublishMsg(context.Background(), m)
		if err != nil {
			return err
		}
		for k := range es {
			es[k].Key = positionKey(ack.Sequence - uint64(len(es)-1-k))
		}
	}
	return nil
}

func (j *jetstreamStore) Get(k key, e *event) error {
	m, err := j.stream.GetMsg(context.Background(), k.position())
	if err != nil {
		return err
	}
	return fromMessage(e, m.Subject, m.Data, m.Sequence, m.Time)
}

func fromMessage(e *event, subject string, data []byte, position uint64, at time.Time) error {
	parts := strings.SplitN(subject, ".", 4)
	if len(parts) != 4 {
		return fmt.Errorf("subject %q", subject)
	}
	kind, err := strconv.ParseUint(parts[3], 10, 16)
	e.Entity, e.Scope, e.Kind, e.Payload = parts[1], parts[2], uint16(kind), data
	e.Key, e.Time = positionKey(position), at.UnixNano()
	return err
}

func (j *jetstreamStore) Query(q query, visit func(*event) error) error {
	ctx := context.Background()
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: q.After + 1}
	switch {
	case q.Entity != "":
		c.FilterSubjects = []string{"e." + q.Entity + ".*.*"}
	case q.Scope != "":
		c.FilterSubjects = []string{"e.*." + q.Scope + ".*"}
	case q.Kind != 0:
		c.FilterSubjects = []string{"e.*.*." + strconv.Itoa(int(q.Kind))}
	case q.Until != 0:
		since := time.Unix(0, q.Since)
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &since
	}
	consumer, err := j.stream.OrderedConsumer(ctx, c)
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	size := 1000
	if q.Limit > 0 {
		size = min(size, q.Limit)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(size))
	if err != nil {
		return err
	}
	defer messages.Stop()
	visit = limited(q.Limit, visit)
	for {
		pending, err := visitMessage(messages, q.Until, visit)
		if err != nil || pending == 0 {
			return unlessEnough(err)
		}
	}
}

// visitMessage visits the next message and returns how many are left.
func visitMessage(messages jetstream.MessagesContext, until int64, visit func(*event) error) (pending uint64, err error) {
	m, err := messages.Next()
	if err != nil {
		return 0, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return 0, err
	}
	var e event
	if err := fromMessage(&e, m.Subject(), m.Data(), meta.Sequence.Stream, meta.Timestamp); err != nil {
		return 0, err
	}
	if until != 0 && e.Time >= until {
		return 0, nil
	}
	return meta.NumPending, visit(&e)
}

func (j *jetstreamStore) Close() error {
	j.conn.Close()
	j.server.Shutdown()
	j.server.WaitForShutdown()
	return nil
}
