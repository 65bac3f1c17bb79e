//! The texts of the sample blog.

use super::Sample;

/// All sample posts, oldest first.
pub(super) const ALL: &[Sample] = &[
    Sample {
        slug: "why-we-write-things-down",
        title: "Why we write things down",
        author: "mira-holt",
        tags: &["Writing", "Meta"],
        days_ago: Some(96),
        markdown: "
This is the first post of a blog that does not exist. It is here so that you have something to look
at while you find out what Inkstone does.

We write things down for three reasons:

1. to find out what we think,
2. to remember it next year,
3. to save somebody else the trouble.

The third one is the best. Everything else on these pages is a variation of it.
",
    },
    Sample {
        slug: "a-kettle-a-notebook-and-a-timer",
        title: "A kettle, a notebook and a timer",
        author: "sana-okafor",
        tags: &["Tools", "Coffee"],
        days_ago: Some(88),
        markdown: "
You can make very good coffee with three things that you own already.

| What     | Why                                             |
|----------|-------------------------------------------------|
| kettle   | water that has just stopped boiling             |
| notebook | so that tomorrow is a repetition, not a guess   |
| timer    | four minutes feel like two, or like ten         |

Change one thing at a time, and write it down. After a week you will know more about your coffee than
the label does.
",
    },
    Sample {
        slug: "the-map-is-late",
        title: "The map is late",
        author: "jonas-weber",
        tags: &["Walking", "Maps"],
        days_ago: Some(80),
        markdown: "
The path on the map crosses the stream on a bridge. The bridge left in the flood of last spring; the
map will learn of it some time next year.

> A map is a letter from somebody who was here before you.

Read it like one: gratefully, and with a look at the date.
",
    },
    Sample {
        slug: "naming-a-cat",
        title: "Naming a cat, and other hard problems",
        author: "mira-holt",
        tags: &["Programming", "Writing"],
        days_ago: Some(71),
        markdown: "
A good name answers the question that a reader has at that very line. So the test is simple: cover the
rest of the page.

```rust
let d = 86_400;                 // what?
let seconds_a_day = 86_400;     // oh.
```

The cat is called *Tuesday*, by the way. She arrived on a Thursday. Nobody is perfect.
",
    },
    Sample {
        slug: "small-tools-kept-sharp",
        title: "Small tools, kept sharp",
        author: "jonas-weber",
        tags: &["Tools", "Programming"],
        days_ago: Some(63),
        markdown: "
My grandfather had eleven chisels and knew each one by its handle. I have four hundred command line
flags and look up all of them.

This month I removed every alias that I had not used since spring. What is left:

- [x] go to a project
- [x] show what has changed
- [ ] make tea

I am working on the last one.
",
    },
    Sample {
        slug: "rain-is-a-kind-of-weather-too",
        title: "Rain is a kind of weather, too",
        author: "sana-okafor",
        tags: &["Walking"],
        days_ago: Some(52),
        markdown: "
We had planned the ridge and got the valley. It rained from the first step to the last, the sort of
rain that does not fall but is simply there.

Nobody else was out. We heard the river from both sides, met one heron and a very polite dog, and were
home by four, dry by five. I would not swap it for the view.
",
    },
    Sample {
        slug: "one-change-at-a-time",
        title: "One change at a time",
        author: "mira-holt",
        tags: &["Programming"],
        days_ago: Some(41),
        markdown: "
Two changes in one step, and when something breaks you have two suspects and one alibi.

So: first move the code, and change nothing. Then change the code, and move nothing. Each step is so
small that it is boring, and boring is what you want at six in the evening.

```sh
git log --oneline
# 7c1d2aa Round prices half up
# 19b03fe Move price rounding into its own file
```

The second line is the one that lets you read the first.
",
    },
    Sample {
        slug: "grind-size-an-experiment",
        title: "Grind size: an experiment",
        author: "sana-okafor",
        tags: &["Coffee"],
        days_ago: Some(33),
        markdown: "
Same beans, same water, same cup; only the grinder moved. Five cups, tasted blind by three people who
had slept badly.

The coarsest tasted of warm water with a memory. The finest tasted of a pencil. The middle one won,
which is what every book says, and which none of us had believed until we tried[^1].

[^1]: Try it. Believing is the least interesting way of knowing.
",
    },
    Sample {
        slug: "what-the-contour-lines-know",
        title: "What the contour lines know",
        author: "jonas-weber",
        tags: &["Maps", "Walking"],
        days_ago: Some(24),
        markdown: "
Where the brown lines are close together, bring your knees. Where they are far apart, bring a
sandwich. Where they make a V that points uphill there is water, or there was.

It is the best compression that I know: one colour, no words, and a whole valley folds out of it when
you look long enough.
",
    },
    Sample {
        slug: "a-garden-is-a-queue",
        title: "A garden is a queue",
        author: "mira-holt",
        tags: &["Garden"],
        days_ago: Some(15),
        markdown: "
Things come in at one end, in spring, at a rate that has nothing to do with you. Things go out at the
other end, in autumn, exactly as fast as you can carry them.

In between there is a bound on how much fits. If you ignore it, the courgettes will enforce it.

What helped us: fewer beds, written on a list, and the right to say *not this year*.
",
    },
    Sample {
        slug: "reading-old-posts",
        title: "Reading old posts",
        author: "sana-okafor",
        tags: &["Writing", "Meta"],
        days_ago: Some(8),
        markdown: "
Once a year I read everything that I have published here. It takes an evening and some courage.

Most of it is still true. Some of it was never true, and nobody told me, which says something about
how many people read it. One paragraph I had forgotten, and it was exactly what I needed on that very
day.

~~Never delete anything.~~ Correct what is wrong, say that you did, and keep the address.
",
    },
    Sample {
        slug: "hello-from-the-sample-blog",
        title: "Hello from the sample blog",
        author: "mira-holt",
        tags: &["Meta"],
        days_ago: Some(1),
        markdown: "
You started Inkstone with `--demo`. Here is what to try first:

```sh
curl 'http://127.0.0.1:8080/api/v1/posts?per_page=3'
curl 'http://127.0.0.1:8080/api/v2/posts?tag=walking&include=authors'
curl -i 'http://127.0.0.1:8080/api/v2/posts/by-slug/naming-a-cat'
```

The whole reference is at [/docs](/docs). When you have seen enough, stop the server, remove the data
directory, and start without `--demo`: nothing of this will come back.
",
    },
    Sample {
        slug: "bread-second-attempt",
        title: "Bread, second attempt",
        author: "sana-okafor",
        tags: &["Tools"],
        days_ago: None,
        markdown: "
*Not finished: the loaf is still in the oven.* Only its author and the editors see this draft.
",
    },
];
