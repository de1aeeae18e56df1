// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /sys/fs/TYPE/DEVICE: a file for each counter of a mount. What there is to
 * count, and what each value is, the file system says.
 *
 * The directory goes before the file system does. Removing it waits for whoever
 * is reading a value; a file that is still open answers ENODEV from then on.
 */
#include <linux/kobject.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "bento.h"

struct bento_counter {
	struct kobj_attribute attr;
	struct bento_mount *mount;
	u32 index;
};

struct bento_counters {
	struct kobject *dir;
	/* NUL-terminated, one after the other. */
	char *names;
	struct bento_counter list[];
};

static ssize_t bento_counter_show(struct kobject *dir,
				  struct kobj_attribute *attr, char *page)
{
	struct bento_counter *counter =
		container_of(attr, struct bento_counter, attr);
	struct bento_sink sink = {
		.data = page,
		.capacity_bytes = PAGE_SIZE - 1,
	};
	int err = bento_call(counter->mount, counter, counter->index, &sink);

	if (err)
		return err;
	if (sink.len_bytes > sink.capacity_bytes)
		return -EFBIG;
	page[sink.len_bytes] = '\n';
	return sink.len_bytes + 1;
}

/* The names, in memory of their own; their number is in *count. */
static char *bento_counter_names(struct bento_mount *mount, size_t *count)
{
	struct bento_sink sink = { .capacity_bytes = PAGE_SIZE };
	size_t at;
	int err;

	sink.data = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!sink.data)
		return ERR_PTR(-ENOMEM);
	err = bento_call(mount, counters, &sink);
	if (!err && sink.len_bytes > sink.capacity_bytes)
		err = -EFBIG;
	if (err) {
		kfree(sink.data);
		return ERR_PTR(err);
	}
	*count = 0;
	for (at = 0; at < sink.len_bytes; at++)
		*count += !sink.data[at];
	return (char *)sink.data;
}

static void bento_free_counters(struct bento_counters *counters)
{
	kobject_del(counters->dir);
	kobject_put(counters->dir);
	kfree(counters->names);
	kfree(counters);
}

static int bento_show_counters(struct bento_counters *counters,
			       struct bento_mount *mount, size_t count)
{
	const char *name = counters->names;
	u32 i;

	counters->dir = kobject_create_and_add(mount->sb->s_id,
					       mount->type->counters);
	if (!counters->dir)
		return -ENOMEM;
	for (i = 0; i < count; i++, name += strlen(name) + 1) {
		struct bento_counter *counter = &counters->list[i];
		int err;

		counter->mount = mount;
		counter->index = i;
		counter->attr.show = bento_counter_show;
		counter->attr.attr.name = name;
		counter->attr.attr.mode = 0444;
		sysfs_attr_init(&counter->attr.attr);
		err = sysfs_create_file(counters->dir, &counter->attr.attr);
		if (err)
			return err;
	}
	return 0;
}

static int bento_try_add_counters(struct bento_mount *mount)
{
	struct bento_counters *counters;
	size_t count;
	char *names = bento_counter_names(mount, &count);
	int err;

	if (IS_ERR(names))
		return PTR_ERR(names);
	counters = kzalloc(struct_size(counters, list, count), GFP_KERNEL);
	if (!counters) {
		kfree(names);
		return -ENOMEM;
	}
	counters->names = names;
	err = bento_show_counters(counters, mount, count);
	if (err)
		bento_free_counters(counters);
	else
		mount->counters = counters;
	return err;
}

/* Nobody's mount fails because it can't be watched. */
void bento_add_counters(struct bento_mount *mount)
{
	int err;

	if (!mount->type->counters)
		return;
	err = bento_try_add_counters(mount);
	if (err)
		pr_warn("bento: %s on %s: no counters in /sys/fs (error %d)\n",
			mount->ops->name, mount->sb->s_id, err);
}

void bento_remove_counters(struct bento_mount *mount)
{
	if (mount->counters)
		bento_free_counters(mount->counters);
	mount->counters = NULL;
}

/* Without a device a mount has no name of its own to be found under. */
int bento_add_counters_of_type(struct bento_type *type)
{
	if (!type->ops->needs_device)
		return 0;
	type->counters = kobject_create_and_add(type->ops->name, fs_kobj);
	return type->counters ? 0 : -ENOMEM;
}

void bento_remove_counters_of_type(struct bento_type *type)
{
	kobject_put(type->counters);
}
