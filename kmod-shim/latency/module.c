// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * For benchmarks only: a device-mapper target that makes writes and flushes of
 * a device in memory cost what they cost on a real one. dm-delay counts in
 * ticks, which are 10 ms in user-mode Linux and 4 ms in Debian's kernel.
 *
 * Table: latency DEVICE WRITE_MICROSECONDS FLUSH_MICROSECONDS
 */
#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/workqueue.h>

struct latency {
	struct dm_dev *dev;
	unsigned int write_us;
	unsigned int flush_us;
	struct workqueue_struct *submitters;
};

/* A request that waits; lives in the bio's own memory. */
struct waiting {
	struct hrtimer timer;
	struct work_struct work;
	struct workqueue_struct *submitters;
};

static void latency_submit(struct work_struct *work)
{
	struct waiting *waiting = container_of(work, struct waiting, work);

	dm_submit_bio_remap(dm_bio_from_per_bio_data(waiting, sizeof(*waiting)),
			    NULL);
}

/* Submitting may sleep, a timer may not. */
static enum hrtimer_restart latency_over(struct hrtimer *timer)
{
	struct waiting *waiting = container_of(timer, struct waiting, timer);

	queue_work(waiting->submitters, &waiting->work);
	return HRTIMER_NORESTART;
}

static unsigned int latency_of(struct latency *latency, struct bio *bio)
{
	/* FUA has to reach the medium, as a flush has. */
	if (op_is_flush(bio->bi_opf))
		return latency->flush_us;
	return op_is_write(bio_op(bio)) ? latency->write_us : 0;
}

static int latency_map(struct dm_target *target, struct bio *bio)
{
	struct latency *latency = target->private;
	struct waiting *waiting = dm_per_bio_data(bio, sizeof(*waiting));
	unsigned int cost_us = latency_of(latency, bio);

	bio_set_dev(bio, latency->dev->bdev);
	bio->bi_iter.bi_sector = dm_target_offset(target, bio->bi_iter.bi_sector);
	if (!cost_us)
		return DM_MAPIO_REMAPPED;
	waiting->submitters = latency->submitters;
	INIT_WORK(&waiting->work, latency_submit);
	hrtimer_init(&waiting->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	waiting->timer.function = latency_over;
	hrtimer_start(&waiting->timer, ns_to_ktime((u64)cost_us * NSEC_PER_USEC),
		      HRTIMER_MODE_REL);
	return DM_MAPIO_SUBMITTED;
}

static void latency_free(struct dm_target *target, struct latency *latency)
{
	if (latency->submitters)
		destroy_workqueue(latency->submitters);
	if (latency->dev)
		dm_put_device(target, latency->dev);
	kfree(latency);
}

static int latency_ctr(struct dm_target *target, unsigned int argc, char **argv)
{
	struct latency *latency;
	int err = -EINVAL;

	if (argc != 3) {
		target->error = "Expected: DEVICE WRITE_MICROSECONDS FLUSH_MICROSECONDS";
		return err;
	}
	latency = kzalloc(sizeof(*latency), GFP_KERNEL);
	if (!latency)
		return -ENOMEM;
	if (kstrtouint(argv[1], 10, &latency->write_us) ||
	    kstrtouint(argv[2], 10, &latency->flush_us)) {
		target->error = "A latency is a number of microseconds";
		goto fail;
	}
	err = dm_get_device(target, argv[0], dm_table_get_mode(target->table),
			    &latency->dev);
	if (err) {
		target->error = "No such device";
		goto fail;
	}
	err = -ENOMEM;
	latency->submitters = alloc_workqueue("dm-latency",
					      WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	if (!latency->submitters)
		goto fail;
	target->num_flush_bios = 1;
	target->num_discard_bios = 1;
	target->per_io_data_size = sizeof(struct waiting);
	target->accounts_remapped_io = true;
	target->private = latency;
	return 0;

fail:
	latency_free(target, latency);
	return err;
}

static void latency_dtr(struct dm_target *target)
{
	latency_free(target, target->private);
}

static int latency_iterate_devices(struct dm_target *target,
				   iterate_devices_callout_fn fn, void *data)
{
	struct latency *latency = target->private;

	return fn(target, latency->dev, 0, target->len, data);
}

static struct target_type latency_target = {
	.name = "latency",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = latency_ctr,
	.dtr = latency_dtr,
	.map = latency_map,
	.iterate_devices = latency_iterate_devices,
};
module_dm(latency);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A device whose writes and flushes take time, for benchmarks only");
