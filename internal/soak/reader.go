package main

import (
	"context"
	"errors"
	"iter"

	"github.com/batpak/batpak"
)

// A follower is a store or a reader.
type follower interface {
	Follow(context.Context, batpak.Query) iter.Seq2[batpak.Event, error]
	Visible() batpak.Seq
}

// read follows the store from this process, which does not write to it, until ctx is done.
func (c *child) read(ctx context.Context) {
	r, err := batpak.OpenReader(c.Dir, &batpak.ReaderOptions{PollInterval: c.Poll})
	if err != nil {
		c.fail(err, true)
	}
	c.out.say(kindOpened, opening{Store: r.StoreID(), Visible: r.Visible()})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		sendSamples(ctx, c.out, r.Visible)
	}()
	c.follow(ctx, r, &gauge{}, func(err error) bool { return errors.Is(err, context.Canceled) })
	<-sampled
	if err := r.Close(); err != nil {
		c.fail(err, false)
	}
}
