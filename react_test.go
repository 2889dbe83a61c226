package batpak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/batpak/batpak/event"
)

type ordered struct {
	Number int `cbor:"number"`
}

func (ordered) EventType() Type { return Type{Kind: 0x3001, Name: "ordered", Version: 1} }

// shipped says which call of the handler made it, so that no two calls make the same.
type shipped struct {
	Number int    `cbor:"number"`
	Part   int    `cbor:"part"`
	Call   uint64 `cbor:"call"`
}

func (shipped) EventType() Type { return Type{Kind: 0x3002, Name: "shipped", Version: 1} }

// shipping answers each order with two parcels, the second caused by the first. It calls step first, unless that is nil.
func shipping(step func(e *Event, p ordered) error) Reaction { return shippingAt(0, step) }

// shippingAt is shipping with answers of that durability.
func shippingAt(d Durability, step func(e *Event, p ordered) error) Reaction {
	return Reaction{Name: "shipping", Handlers: []event.Handler[*Batch]{
		event.On(func(b *Batch, e Event, p ordered) error {
			if step != nil {
				if err := step(&e, p); err != nil {
					return err
				}
			}
			call := rand.Uint64()
			at := At("parcel:"+e.Entity, "out")
			b.Propose(Proposal{At: at, Payload: shipped{p.Number, 1, call}, Durability: d})
			b.Propose(Proposal{At: at, Payload: shipped{p.Number, 2, call}, Durability: d, Cause: CauseItem(0)})
			return nil
		}),
	}}
}

func order(t testing.TB, s *Store, numbers ...int) (rs []Receipt) {
	t.Helper()
	for _, n := range numbers {
		r, err := s.Append(At(fmt.Sprint("order:", n%3), "shop"), ordered{n})
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

// errAnswered ends a reaction that has answered what it was to answer.
var errAnswered = errors.New("answered")

// answerAll runs shipping until every order that was there has been answered, and after them one of its own.
func answerAll(s *Store, step func(e *Event, p ordered) error) error {
	last, err := s.Append(At("order:last", "shop"), ordered{-1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	err = s.React(ctx, shipping(func(e *Event, p ordered) error {
		if e.Seq == last.Seq {
			cancel(errAnswered)
		}
		if step == nil {
			return nil
		}
		return step(e, p)
	}))
	if err == errAnswered {
		return nil
	}
	return fmt.Errorf("shipping ended with %w", err)
}

// checkAnswers checks that the first orders have each been answered by shipping, once, with a whole batch, in their order, and
// no other. It returns how many, and all orders.
func checkAnswers(s *Store) (answered int, orders []Event, err error) {
	var first Event // of the batch under way
	for e, err := range s.Query(Query{}) {
		if err != nil {
			return 0, nil, err
		}
		switch {
		case first.Seq > 0 && e.Seq != first.Seq+1:
			return 0, nil, violated("the batch at %d is not whole", first.Seq)
		case e.Kind == ordered{}.EventType().Kind:
			orders = append(orders, e)
		case e.Kind != shipped{}.EventType().Kind:
		case answered == len(orders):
			return 0, nil, violated("event %d answers no order", e.Seq)
		case first.Seq == 0:
			if err := checkAnswer(&e, &orders[answered], 1, orders[answered].ID); err != nil {
				return 0, nil, err
			}
			first = e
		default:
			if err := checkAnswer(&e, &orders[answered], 2, first.ID); err != nil {
				return 0, nil, err
			}
			if a, b := calledBy(&first), calledBy(&e); a != b {
				return 0, nil, violated("events %d and %d are of calls %d and %d", first.Seq, e.Seq, a, b)
			}
			first = Event{}
			answered++
		}
	}
	if first.Seq > 0 {
		return 0, nil, violated("the batch at %d is not whole", first.Seq)
	}
	rep, err := verifyStore(s)
	if err == nil && !rep.OK() {
		err = violated("verify: %v", rep.Findings)
	}
	return answered, orders, err
}

func calledBy(e *Event) uint64 {
	p, _ := Decode[shipped](*e) // checkAnswer has decoded it
	return p.Call
}

// checkAnswer checks one event of a batch.
func checkAnswer(e, order *Event, part int, cause ID) error {
	p, err := Decode[shipped](*e)
	if err != nil {
		return err
	}
	o, err := Decode[ordered](*order)
	if err != nil {
		return err
	}
	if p.Number != o.Number || p.Part != part || e.Entity != "parcel:"+order.Entity {
		return violated("event %d of %s is %+v, where part %d of the answer to order %d of %s is due", e.Seq, e.Entity, p, part, o.Number, order.Entity)
	}
	key := "batpak.reaction/" + IdempotencyKey("batpak.reaction", "shipping", order.ID.String(), strconv.Itoa(part-1))
	if e.Causation != cause || e.Correlation != order.Correlation || e.Key != key {
		return violated("event %d has cause %v, correlation %v and key %q; due are %v, %v, %q", e.Seq, e.Causation, e.Correlation, e.Key, cause, order.Correlation, key)
	}
	return nil
}

// mustAnswerAll checks that all orders are answered, and returns how many there are.
func mustAnswerAll(t testing.TB, s *Store) int {
	t.Helper()
	answered, orders, err := checkAnswers(s)
	if err != nil || answered != len(orders) {
		t.Fatalf("%d of %d orders are answered: %v", answered, len(orders), err)
	}
	return answered
}

// TestReact runs a reaction three times over, while orders come in. Each is answered once.
func TestReact(t *testing.T) {
	s := openTest(t, memoryDir(t), nil)
	for i := range 3 {
		for n := range 100 {
			order(t, s, 100*i+n)
		}
		if err := answerAll(s, nil); err != nil {
			t.Fatal(err)
		}
		if n := mustAnswerAll(t, s); n != 101*(i+1) {
			t.Errorf("%d orders", n)
		}
	}
	st, err := s.Stats()
	if err != nil || len(st.Cursors) != 1 || st.Cursors[0].Name != "shipping" || st.Cursors[0].Open {
		t.Errorf("%+v, %v", st.Cursors, err)
	}
}
